"""The terminal: the result on stdout, everything else on stderr."""
