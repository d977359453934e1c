"""`make bench-gpu`: what an execution provider makes of the artifacts, and Python of it."""
