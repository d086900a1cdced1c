"""The pages over the SQL service. Reads no store and no topic but those of the control plane."""
