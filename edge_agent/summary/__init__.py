"""From reports to windows: mergeable statistics and the summariser that closes them on time."""
