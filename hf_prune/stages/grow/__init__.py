"""Growth: new layers in the shallow half of a model, silent until they are trained (SLayer, 2410.02330)."""
