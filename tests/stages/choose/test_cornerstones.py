"""Which layers a model cannot do without: told apart at a doubled perplexity."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from hf_prune.records import LayerScores, Similarity
from hf_prune.stages.choose.criteria import CORNERSTONE, cornerstones
from tests.support.sample_run import sample_similarity, sample_text


def with_losses(rises: Sequence[float]) -> Similarity:
    scores = LayerScores(criterion="loss", values=tuple(rises), text=sample_text())
    return replace(sample_similarity(len(rises)), layer_scores=(scores,))


def test_a_cornerstone_alone_more_than_doubles_the_perplexity():
    assert math.exp(CORNERSTONE) == pytest.approx(2)
    rises = [7.137, 0.6, -0.02, math.log(2), math.nextafter(math.log(2), 1), 0.0]
    assert cornerstones(with_losses(rises)) == (0, 4)


def test_a_model_may_have_no_cornerstone_or_nothing_else():
    assert cornerstones(with_losses([0.1, 0.2])) == ()
    assert cornerstones(with_losses([1.0, 2.0, 3.0])) == (0, 1, 2)


def test_what_was_not_measured_is_not_taken_for_none():
    with pytest.raises(ValueError, match="loss was not measured"):
        cornerstones(replace(sample_similarity(6), layer_scores=()))
