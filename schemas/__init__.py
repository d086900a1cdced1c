"""The contract between the processes: records, topics, codec and error roots. Imports nothing of ours.

records.py         the .avsc files as values: fields, types, classes, fingerprints
codec.py           bytes to records and back (encode, decode, reader, arrow), served by framing, encoder and decoder
otlp/              OTLP requests to framed records
topics.py          the topic catalogue, keys and partitions
keys.py            API keys
cloudevents.py     the headers of CloudEvents
asyncapi.py        the topics as an AsyncAPI document
compatibility.py   FULL_TRANSITIVE check over the versions of a record, and of what was released
errors.py          the two roots of all our errors
"""
