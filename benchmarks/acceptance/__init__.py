"""Large runs, one at a time."""
