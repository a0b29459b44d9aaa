"""edge-agent: private, offline emotion sensing for small Linux machines. Importing it does nothing."""

__version__ = "0.2.0"
