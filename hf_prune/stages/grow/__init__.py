"""New layers in the shallow half of a model, nothing at first, to be trained: Llama SLayer (2410.02330)."""
