"""What the streams process costs: the engine alone, the session stage, beside stock Faust and Kafka Streams.

    python -m tests.bench --only engine,small,stage,flat,flat_stage,recovery,takeover [--rounds 3] [--scale 1]

Every candidate is a process of its own that reads the same topic from its beginning. Its start, its warm-up and the
first half of the records are left out; what counts is user and system CPU time of the whole process, from the middle of
the topic until it has ended, over the records of the second half. Candidates take turns, so that what else the machine
does meets all of them; medians of the rounds are told.

    loads.py     the topics: whole ClaudeEvents of so many sessions, in bursts
    meter.py     what a candidate says of itself, and how it is run and reckoned
    alone.py, stock.py, small.py, stage.py, kafka_streams.py      the candidates
    recovery.py, takeover.py                                      after a lost folder; after kill -9
    tables.py    runs them in turns and prints the rows
"""
