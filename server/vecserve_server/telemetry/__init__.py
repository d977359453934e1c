"""What the server tells whoever operates it."""
