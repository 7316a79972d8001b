"""Evaluation: how good each variant is, and what it costs to run."""
