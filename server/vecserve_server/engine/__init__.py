"""The engine: admission, scheduling and the instances that run batches. No gRPC in here; usable in-process."""
