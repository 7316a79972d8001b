"""The model card, its pictures and the job summary, rendered from the record of a run."""
