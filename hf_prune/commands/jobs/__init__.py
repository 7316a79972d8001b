"""Runs on Hugging Face Jobs, the machines of the Hub: at once or on a schedule."""
