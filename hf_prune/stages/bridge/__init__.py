"""Bridges: the gap that removed layers leave is closed by new values for weights that stay, without training.

Read in this order: projections (which weights can carry a bridge), closing_norm (where a layer ends in a
norm), equations (the sums of least squares),
forms (what a weight becomes), gaps (the streams, and where their gaps are closed), scale, choose.
"""
