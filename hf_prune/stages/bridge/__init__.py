"""Bridges: new values for weights that stay close the gap that removed layers leave, without training.

Read in this order: closing_norm (layers that end in a norm), equations (the sums of least squares), forms
(what a weight becomes), gaps (the streams, and where their gaps are closed), scale, choose, trials, stage.
"""
