"""The wire: gRPC services, conversions to and from the engine's types, and the mapping of errors."""
