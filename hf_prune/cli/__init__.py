"""The command line: options, help, and what the console shows."""
