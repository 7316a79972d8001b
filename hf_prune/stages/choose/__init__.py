"""The choice of the layers to remove, from measurements and the recipe to a plan. No files, no tensors."""
