"""`hf-prune analyze`: what it writes, what it says, and that a run afterwards needs no pass."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch.distributed as distributed
from PIL import Image

import hf_prune as api
from hf_prune.records import Similarity, from_data
from hf_prune.records.blocks import best_blocks
from hf_prune.stages.run import Analysis
from tests.support.tool import FEW, bytes_of, hf_prune, hf_prune_apart

SAMPLES = (*FEW[:2], *FEW[6:])  # without what is evaluated on, which an analysis has no use for


@pytest.fixture(scope="module")
def analysed(trained_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """One analysis with Shapley values: its folder, and what was said."""
    folder = tmp_path_factory.mktemp("analysis") / "out"
    outcome = hf_prune("analyze", str(trained_model), *SAMPLES, "--shapley", "2", "--output", str(folder))
    assert (outcome.code, outcome.out) == (0, f"{folder}\n")
    return folder, outcome.err


def test_writes_similarity_json_analysis_json_and_four_pictures(analysed: tuple[Path, str]) -> None:
    folder, _ = analysed
    similarity = from_data(Similarity, json.loads((folder / "similarity.json").read_text()))
    analysis = from_data(Analysis, json.loads((folder / "analysis.json").read_text()))
    assert analysis.similarity == similarity
    assert {score.criterion for score in similarity.layer_scores} == {
        "bi",
        "relative-magnitude",
        "magnitude",
        "taylor",
        "loss",
        "shapley",
    }
    assert analysis.best_blocks == best_blocks(similarity.angular_last_token)
    names = {path.name for path in (folder / "plots").iterdir()}
    assert names == {"similarity.png", "block_sizes.png", "layer_scores.png", "drop_effects.png"}
    for path in (folder / "plots").iterdir():
        with Image.open(path) as picture:
            assert picture.width == 1400
    assert {path.name for path in folder.iterdir()} == {"similarity.json", "analysis.json", "plots", "stages"}


def test_the_command_makes_the_analysis_again_and_tells_no_path(
    analysed: tuple[Path, str], trained_model: Path
) -> None:
    told = json.loads((analysed[0] / "analysis.json").read_text())
    assert told["command"] == f"hf-prune analyze {trained_model.name} --samples 4 --seq-len 32 --shapley 2"


def test_the_processes_part_at_the_end(
    analysed: tuple[Path, str], trained_model: Path, tmp_path: Path
) -> None:
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        outcome = hf_prune("analyze", str(trained_model), *SAMPLES, "--output", str(tmp_path / "out"))
        assert outcome.code == 0
        assert not distributed.is_initialized()
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()


def test_the_terminal_shows_every_layer_and_the_best_blocks(analysed: tuple[Path, str]) -> None:
    _, said = analysed
    assert "6 layers: lowest goes first" in said
    for criterion in ("bi", "taylor", "loss", "shapley"):
        assert criterion in said
    assert "Best block of each size" in said


def test_the_same_analysis_again_gives_the_same_bytes(
    analysed: tuple[Path, str], trained_model: Path
) -> None:
    folder, _ = analysed
    before = bytes_of(folder)
    words = ("analyze", str(trained_model), *SAMPLES, "--shapley", "2", "--output", str(folder))
    outcome = hf_prune(*words)
    assert outcome.code == 0
    assert "measured before on the same text" in outcome.err
    after = bytes_of(folder)
    assert after.keys() == before.keys()
    assert all(after[name] == before[name] for name in before if name != "analysis.json")  # it has times


def test_a_run_after_an_analysis_measures_nothing_anew(
    analysed: tuple[Path, str], trained_model: Path, tmp_path: Path
) -> None:
    words = (str(trained_model), *FEW, "--drop-layers", "2", "--method", "taylor")
    outcome = hf_prune(*words, "--output", str(tmp_path / "run"))
    assert outcome.code == 0
    assert "measured before on the same text" in outcome.err


def test_json_is_one_document(analysed: tuple[Path, str], trained_model: Path, tmp_path: Path) -> None:
    outcome = hf_prune("analyze", str(trained_model), *SAMPLES, "--json", "--output", str(tmp_path / "a"))
    told = json.loads(outcome.out)
    assert told["folder"] == str(tmp_path / "a")
    assert from_data(Analysis, told["analysis"]).dense.num_layers == 6


def test_the_python_api_returns_the_analysis(trained_model: Path, tmp_path: Path) -> None:
    recipe = api.Recipe(model=str(trained_model), samples=4, sequence_length=32)
    found = api.analyze(recipe, tmp_path / "api")
    assert found is not None
    assert found.analysis.dense.num_layers == 6
    assert found.folder == tmp_path / "api"


def test_a_folder_with_something_else_is_left_alone(analysed: tuple[Path, str], trained_model: Path) -> None:
    folder, _ = analysed
    before = bytes_of(folder)
    outcome = hf_prune(str(trained_model), *FEW, "--output", str(folder))
    assert outcome.code == 2
    assert "holds a run with other settings" in outcome.error()
    assert bytes_of(folder) == before


@pytest.mark.slow
def test_two_processes_write_what_one_writes(
    tiny_models: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torchrun as a user starts it, each way with a cache of its own."""
    import subprocess
    import sys

    words = ["analyze", str(tiny_models("llama")), *SAMPLES]
    one = hf_prune_apart(*words, "--output", str(tmp_path / "one"), HF_HOME=str(tmp_path / "home1"))
    assert one.code == 0
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home2"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    command = [*launcher, "-m", "hf_prune", *words, "--output", str(tmp_path / "two")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'two'}\n"  # said once
    found, expected = (
        from_data(Similarity, json.loads((tmp_path / name / "similarity.json").read_text()))
        for name in ("two", "one")
    )
    assert found.calibration == expected.calibration
    for mine, theirs in zip(found.layer_scores, expected.layer_scores, strict=True):
        assert mine.values == pytest.approx(theirs.values, abs=1e-6, rel=1e-6)
    for mine, theirs in zip(found.angular_last_token, expected.angular_last_token, strict=True):
        assert mine == pytest.approx(theirs, abs=1e-6)
