"""Batch jobs: recordings queued durably, analysed in a process of low priority, and answered in Hume's shapes."""
