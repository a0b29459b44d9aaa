"""How our own models are made: one folder per model, nothing here is needed to run the agent.

Install with ``pip install -e '.[train]'``. Data is never committed; the model cards say where it comes from.
"""
