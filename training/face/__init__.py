"""The face detector's figures; its networks are Google's, so nothing is trained here. ``boxes.json``: faces by eye."""
