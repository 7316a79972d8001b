"""Measurements of a model's layers: the distances between them, and the loss without them."""
