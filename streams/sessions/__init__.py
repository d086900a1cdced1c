"""The sessions stage: events and metric points in, whole session rows and hour snapshots out."""
