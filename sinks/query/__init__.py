"""The query tables: a DuckDB store that is a sink, and the SQL service that reads it."""
