"""What each variant is worth, and what it costs to run."""
