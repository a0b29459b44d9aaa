"""Composition root: the agent, the daemon, and the analysis of recordings, made from one pipeline builder."""
