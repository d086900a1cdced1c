"""The users stage: hour snapshots of sessions in, hour and day totals of users out."""
