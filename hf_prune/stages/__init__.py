"""The stages of a run, from `source` to `publish`, in the order of the data. Each leaves a record."""
