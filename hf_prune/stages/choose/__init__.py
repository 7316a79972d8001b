"""Which layers to remove. Pure: from scores and the recipe to a plan, no files, no tensors."""
