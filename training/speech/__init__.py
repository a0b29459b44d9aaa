"""Evaluation of the speech analyzer, whose weights are Moonshine's; nothing is trained here."""
