"""Keeping a process of blocking stages alive: threads, hand-offs, stopping, health, logs, systemd."""
