"""Analysis stage: pacing, tracking and the vision and audio lanes, from frames and sound to reports. No threads."""
