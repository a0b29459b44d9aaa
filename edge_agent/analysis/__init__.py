"""From frames and sound to observations: motion, tracking, pacing and the two lanes. Runs no threads of its own."""
