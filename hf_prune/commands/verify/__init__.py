"""`hf-prune verify`: check what a published card claims."""
