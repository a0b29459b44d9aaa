"""Messages that the agent publishes: their models, JSON Schemas, and how windows and events become payloads."""
