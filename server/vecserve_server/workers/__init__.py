"""`vecserve serve --workers N`: several processes on one port, and the supervisor that keeps them running."""
