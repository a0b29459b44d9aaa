"""Evaluation and constants of the gaze analyzer, from rendered heads whose pose and gaze are known."""
