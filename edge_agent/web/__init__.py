"""The device's own web side: the optional extra ``edge-emotion-agent[web]``, off unless the config asks for it."""
