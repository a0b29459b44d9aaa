"""What local readers see of a running agent: event bus, history, people in view, camera preview."""
