"""The streams process: Avro topics in, exact aggregates out.  `python -m streams` runs it.

engine/ makes Faust exact and fast and knows no Claude; inspect/ looks at the rows from outside (`millrace state`);
every other folder is one stage (pure logic, and agent.py).
"""
