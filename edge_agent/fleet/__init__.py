"""Tools for fleets of agents."""
