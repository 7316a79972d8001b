"""What the steps of action.yml run: a compression, and the one issue that tells of its failures.

Everything that a user of the action wrote arrives in the environment and is taken as words, never as code.
"""
