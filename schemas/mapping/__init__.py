"""Our events in other people's words: what was done, and the same record as ECS, OCSF and OpenTelemetry gen_ai have it.

actions.py  event_action, event_category and event_outcome of every event, one table
tables.py   reads ecs.json, ocsf.json and gen_ai.json; each makes a function here and views in sinks/query
"""
