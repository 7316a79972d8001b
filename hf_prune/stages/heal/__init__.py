"""Healing: what training gives back of what a cut took, learnt from the original or from text."""
