"""What the server costs over running its models in-process, and what it does when there is too much to do."""
