"""The cache of measurements: read for the same model and text, and measured again for any other."""

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from hf_prune.machine.progress import Reporter
from hf_prune.recipe.recipe import Recipe
from hf_prune.stages.measure.importance import greedy_removal
from hf_prune.stages.measure.measurements import Measurements, with_scores
from hf_prune.stages.original import locate, open_original

FEW = {"samples": 8, "sequence_length": 32, "eval_samples": 2}
CACHED = "measured before on the same text: no pass needed"


@pytest.fixture
def open_measurements(tmp_path):
    """`open_measurements(folder, **options)`: a model's measurements, and the lines that they report."""

    def get(folder, **options):
        lines = []
        recipe = Recipe(model=str(folder), device="cpu", **(FEW | options))
        original = open_original(locate(recipe), tmp_path / "work")
        return Measurements(original, tmp_path / "cache", Reporter(tell=lines.append)), lines

    return get


def cached(tmp_path):
    return {path: path.read_bytes() for path in (tmp_path / "cache").iterdir()}


def test_the_same_model_and_text_run_no_layer_again(open_measurements, tiny_models, tmp_path):
    first, lines = open_measurements(tiny_models("llama"))
    similarity, scores = first.similarity(), first.layer_scores("taylor")
    assert lines == []
    files = cached(tmp_path)
    again, lines = open_measurements(tiny_models("llama"), method="taylor", drop_layers=3)
    assert (again.similarity(), again.layer_scores("taylor")) == (similarity, scores)
    assert lines == [CACHED]
    assert again.original.decoder._calls == []  # nothing was entered
    assert cached(tmp_path) == files


@pytest.mark.parametrize("changed", ["text", "weights", "seed", "length"])
def test_other_text_or_weights_are_measured_anew(open_measurements, tiny_models, tmp_path, changed):
    folder = Path(shutil.copytree(tiny_models("llama"), tmp_path / "model"))
    open_measurements(folder)[0].similarity()
    options = {"seed": {"seed": 1}, "length": {"sequence_length": 40}}.get(changed, {})
    if changed == "weights":
        weights = load_file(folder / "model.safetensors")
        weights["model.layers.1.mlp.down_proj.weight"] *= 2
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    if changed == "text":
        text = tmp_path / "text.txt"
        text.write_text("\n\n".join(f"Sentence number {n} says something of its own." for n in range(300)))
        options = {"calibration": str(text)}
    measurements, lines = open_measurements(folder, **options)
    measurements.similarity()
    assert lines == []


def test_a_damaged_file_is_measured_again(open_measurements, tiny_models, tmp_path):
    first = open_measurements(tiny_models("llama"))[0].similarity()
    for path in cached(tmp_path):
        path.write_text('{"num_layers": 6')
    measurements, lines = open_measurements(tiny_models("llama"))
    assert (measurements.similarity(), lines) == (first, [])


def test_shapley_values_are_kept_by_how_they_were_sampled(open_measurements, tiny_models, tmp_path):
    measurements, _ = open_measurements(tiny_models("llama"))
    once, twice = (measurements.layer_scores("shapley", permutations=count) for count in (1, 2))
    assert once != twice
    files = cached(tmp_path)
    assert measurements.layer_scores("shapley", permutations=1) == once
    assert cached(tmp_path) == files


def test_a_greedy_order_is_continued_and_a_shorter_one_is_its_beginning(open_measurements, tiny_models):
    measurements, _ = open_measurements(tiny_models("llama"))
    similarity = with_scores(measurements.similarity(), measurements.layer_scores("loss"))
    orders = [measurements.removal_order(similarity, count, range(6), None) for count in (2, 4, 3)]
    scores = similarity.scores("loss")
    whole = greedy_removal(
        measurements.original.decoder,
        measurements.original.short_calibration,
        4,
        measurements.reporter.progress,
        candidates=sorted(range(6), key=lambda layer: (scores[layer], layer)),
    )
    assert orders[1] == whole
    assert [order.layers for order in orders] == [whole.layers[:2], whole.layers, whole.layers[:3]]


def test_the_scores_of_a_criterion_are_in_the_similarity_once(open_measurements, tiny_models):
    measurements, _ = open_measurements(tiny_models("llama"))
    scores = measurements.layer_scores("loss")
    twice = with_scores(with_scores(measurements.similarity(), scores), scores)
    assert [s.criterion for s in twice.layer_scores] == ["bi", "relative-magnitude", "magnitude", "loss"]
