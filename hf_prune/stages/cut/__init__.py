"""The cut: the original's files without the removed layers, and the proof of the result."""
