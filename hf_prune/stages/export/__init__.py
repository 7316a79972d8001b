"""Other forms of the result: each is written, run under its own runtime, and compared before it counts."""
