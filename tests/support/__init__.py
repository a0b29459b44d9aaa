"""Real parts for tests: brokers, subscribers, certificates, and a proxy that breaks connections."""
