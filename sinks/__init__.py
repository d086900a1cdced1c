"""From the topics into the stores, lake and query tables: each record once, by offsets stored with the rows."""
