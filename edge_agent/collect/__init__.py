"""Collector: stores what a fleet publishes in PostgreSQL, every message exactly once."""
