"""`hf-prune sort` and `hf-prune extract`, from the command to the branches on the Hub."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.loopback import LoopbackHub
from tests.support.tool import FEW, hf_prune

pytestmark = pytest.mark.slow  # whole runs; their parts have tests of their own

TOKENS = torch.arange(10, 34)[None]


@pytest.fixture(scope="module")
def conversations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "answers.jsonl"
    lines = [{"prompt": f"Count to {n}.\n", "response": " ".join(map(str, range(n)))} for n in range(9, 60)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture(scope="module")
def sorted_run(trained_model: Path, conversations: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sorted") / "run"
    words = ("sort", str(trained_model), "--depths", "2,4", "--data", str(conversations), "--lr", "1e-3")
    outcome = hf_prune(*words, "--heal-tokens", "4000", *FEW, "--device", "cpu", "--output", str(folder))
    assert outcome.code == 0, outcome.err
    return folder


def test_every_depth_learns_and_the_whole_is_one_of_them(sorted_run: Path) -> None:
    run = json.loads((sorted_run / "run.json").read_text())
    assert [depth["layers"] for depth in run["evaluated"]["depths"]] == [2, 4, 6]
    losses = run["healing"]["depths"]
    assert [loss["layers"] for loss in losses] == [2, 4, 6]
    assert all(loss["after"] < loss["before"] for loss in losses)
    assert run["name"].endswith("-sorted")


def test_a_depth_is_the_first_layers_of_the_sorted_model(sorted_run: Path) -> None:
    whole = AutoModelForCausalLM.from_pretrained(sorted_run / "model", dtype="auto").eval()
    part = AutoModelForCausalLM.from_pretrained(sorted_run / "depths/depth-4", dtype="auto").eval()
    assert part.config.num_hidden_layers == 4
    whole.model.layers = whole.model.layers[:4]
    whole.config.num_hidden_layers = 4
    with torch.inference_mode():
        torch.testing.assert_close(part(TOKENS).logits, whole(TOKENS).logits)


def test_extract_writes_the_same_depth(sorted_run: Path, tmp_path: Path) -> None:
    target = tmp_path / "four"
    outcome = hf_prune("extract", str(sorted_run / "model"), "--layers", "4", "--output", str(target))
    assert outcome.code == 0
    assert outcome.out == f"{target}\n"
    written = sorted_run / "depths/depth-4/model.safetensors"
    assert (target / "model.safetensors").read_bytes() == written.read_bytes()
    assert "the first 4 layers" in (target / "README.md").read_text()


def test_extract_says_that_a_depth_was_not_trained_for(trained_model: Path, tmp_path: Path) -> None:
    outcome = hf_prune("extract", str(trained_model), "--layers", "3", "--output", str(tmp_path / "three"))
    assert outcome.code == 0
    assert "was not trained to be used at 3 layers" in outcome.err
    assert not (tmp_path / "three" / "README.md").exists()


@pytest.mark.parametrize("depth", ["0", "6", "7"])
def test_extract_refuses_a_depth_that_is_none(depth: str, trained_model: Path, tmp_path: Path) -> None:
    outcome = hf_prune("extract", str(trained_model), "--layers", depth, "--output", str(tmp_path / "x"))
    assert outcome.code == 2
    assert "has 6 layers; give 1 to 5" in outcome.error()


def test_extract_leaves_a_folder_that_holds_something(trained_model: Path, tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_text("mine")
    outcome = hf_prune("extract", str(trained_model), "--layers", "3", "--output", str(tmp_path))
    assert outcome.code == 2
    assert (tmp_path / "kept.txt").read_text() == "mine"


@pytest.mark.slow
def test_each_depth_is_pushed_to_a_branch_of_its_own(
    trained_model: Path, conversations: Path, tmp_path: Path, home_hub: LoopbackHub
) -> None:
    words = ("sort", str(trained_model), "--depths", "2,4", "--sample-depths", "--data", str(conversations))
    words += ("--heal-tokens", "4000", "--lr", "1e-3", *FEW, "--device", "cpu", "--push")
    outcome = hf_prune(*words, "--output", str(tmp_path / "run"))
    assert outcome.code == 0, outcome.err
    repository = "tester/llama-sorted"
    for depth in (2, 4):
        part = AutoModelForCausalLM.from_pretrained(
            repository, revision=f"depth-{depth}", cache_dir=tmp_path / "cache"
        )
        assert part.config.num_hidden_layers == depth
    whole = AutoModelForCausalLM.from_pretrained(repository, cache_dir=tmp_path / "cache")
    assert whole.config.num_hidden_layers == 6
    outcome = hf_prune("extract", repository, "--layers", "4", "--output", str(tmp_path / "four"))
    assert outcome.code == 0, outcome.err
    assert "was not trained" not in outcome.err
    assert "the first 4 layers" in (tmp_path / "four" / "README.md").read_text()


@pytest.mark.parametrize(
    ("depths", "said"),
    [("a", "is not a list like 12,16,20,24"), ("0,2", "give depths from 1"), ("9", "the model has 6 layers")],
)
def test_depths_that_are_none_are_refused(
    depths: str, said: str, trained_model: Path, tmp_path: Path
) -> None:
    outcome = hf_prune("sort", str(trained_model), "--depths", depths, *FEW, "--output", str(tmp_path / "x"))
    assert outcome.code == 2
    assert said in outcome.error()
