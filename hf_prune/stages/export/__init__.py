"""Other formats of the result: each is written, run under its own runtime, and compared with the model."""
