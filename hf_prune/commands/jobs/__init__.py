"""A run on the machines of the Hub: Hugging Face Jobs, at once or by a schedule."""
