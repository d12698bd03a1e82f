"""The embedded event store: a local server that speaks EventStoreDB's gRPC protocol.

It keeps its events in one SQLite file and knows nothing of the rest of the project.
Run it as ``python -m lepret.eventstore --data FILE``.
"""
