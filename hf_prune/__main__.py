"""`python -m hf_prune` is `hf-prune`."""

from hf_prune.cli import main

main()
