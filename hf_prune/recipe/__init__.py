"""What the user asks for: the options of a run, their faults, and the recipes of papers."""
