"""Mutated requests and records: what reads them may refuse, but only in our own words, soon and in little memory."""
