"""The steps of action.yml. All inputs arrive in the environment, and none is ever run as code."""
