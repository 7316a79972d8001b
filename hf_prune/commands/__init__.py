"""The commands: one module or folder for each. They join the stages."""
