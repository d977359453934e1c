"""Where and how the server is reached: addresses, certificates, tokens, and what a connection may ask of it."""
