"""Summaries: mergeable statistics of windows, and the summariser that closes windows on time."""
