"""The device's own web side: an optional extra (``pip install edge-agent[web]``), off unless the config asks for it."""
