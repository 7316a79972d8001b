"""The last stage: the folder that is published, what it keeps of the version before, its way to the Hub."""
