"""What the server costs over its models in-process, what it does under overload, and how true artifacts are."""
