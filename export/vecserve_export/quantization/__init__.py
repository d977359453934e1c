"""Encoders in int8 whose vectors don't depend on what else is in the batch."""
