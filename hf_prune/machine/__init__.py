"""The machine that runs hf-prune: its disk, devices, memory, installed packages and processes."""
