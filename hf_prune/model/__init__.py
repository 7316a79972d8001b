"""One model, one decoder layer at a time: its files, structure, layers in memory, and the proof of a cut."""
