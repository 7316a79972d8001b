"""The steps of action.yml: prune a model, and keep one issue open while that fails.

All inputs arrive in the environment. They are used as words of a command and never run as code.
"""
