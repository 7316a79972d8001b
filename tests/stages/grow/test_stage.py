"""`hf-prune grow`, and growing after a cut, from the command to the published folder."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.support.checkout import ROOT
from tests.support.tool import FEW, hf_prune

pytestmark = pytest.mark.slow  # whole runs; their parts have tests of their own

TRAINED = ("--heal-tokens", "2000", "--device", "cpu")
TEXT = ROOT / "hf_prune" / "stages" / "texts" / "built_in" / "c4_healing.jsonl.gz"


def parameters(folder: Path) -> dict[str, torch.Tensor]:
    return AutoModelForCausalLM.from_pretrained(folder, dtype="auto").state_dict()


@pytest.fixture(scope="module")
def grown(trained_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("grown") / "run"
    words = ("grow", str(trained_model), "--inject", str(TEXT), *FEW, *TRAINED, "--output", str(folder))
    assert hf_prune(*words).code == 0
    return folder


def test_the_old_layers_stay_as_they_are_and_the_new_ones_learn(grown: Path, trained_model: Path) -> None:
    run = json.loads((grown / "run.json").read_text())
    assert run["growth"]["after"] == [1]
    assert run["growth"]["layers"] == [2]
    assert run["plan"]["removed"] == []
    assert run["healing"]["plan"]["method"] == "grown"
    assert run["healing"]["plan"]["objective"] == "text"
    assert run["healing"]["loss_after"] < run["healing"]["loss_before"]
    before, after = parameters(trained_model), parameters(grown / "model")
    assert torch.equal(
        after["model.layers.3.mlp.up_proj.weight"], before["model.layers.2.mlp.up_proj.weight"]
    )
    assert torch.equal(after["model.embed_tokens.weight"], before["model.embed_tokens.weight"])
    assert after["model.layers.2.mlp.down_proj.weight"].any()


def test_the_proof_of_the_untrained_model_is_that_it_computes_the_same(grown: Path) -> None:
    run = json.loads((grown / "run.json").read_text())
    (proof,) = (proof for proof in run["proofs"] if proof["variant"] == "grown")
    assert all(check["passed"] for check in proof["checks"])
    (logits,) = (check for check in proof["checks"] if check["name"].startswith("logits"))
    assert logits["detail"].startswith("at most 0 standard deviations apart")


def test_its_first_layers_are_not_taken_for_those_of_a_sorted_model(grown: Path, tmp_path: Path) -> None:
    outcome = hf_prune("extract", str(grown / "model"), "--layers", "3", "--output", str(tmp_path / "three"))
    assert outcome.code == 0
    assert "was not trained to be used at 3 layers" in outcome.err
    assert not (tmp_path / "three" / "README.md").exists()


def test_each_layer_was_removed_and_expanded_to_see_what_it_holds(grown: Path) -> None:
    growth = json.loads((grown / "run.json").read_text())["growth"]
    assert len(growth["removal_losses"]) == len(growth["expansion_losses"]) == 6
    assert growth["removal_losses"] != growth["expansion_losses"]
    assert growth["shallow"] == {"start": 0, "end": 3}


@pytest.mark.slow
def test_a_cut_model_is_grown_and_the_new_layers_heal_it(trained_model: Path, tmp_path: Path) -> None:
    words = ("run", str(trained_model), "--layers", "4-5", "--grow", "1", *FEW, *TRAINED)
    assert hf_prune(*words, "--output", str(tmp_path / "run")).code == 0
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert run["name"].endswith("-5L")
    assert run["result"]["variant"] == "healed"
    assert run["healing"]["plan"]["objective"] == "predictions"
    assert [p["variant"] for p in run["evaluated"]["perplexities"]] == ["dense", "cut", "bridged", "healed"]
    config = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    assert config["num_hidden_layers"] == 5


@pytest.mark.slow
def test_the_deepest_layers_go_first_where_that_is_asked_for(trained_model: Path, tmp_path: Path) -> None:
    words = (
        "grow",
        str(trained_model),
        "--drop-deepest",
        "2",
        *FEW,
        *TRAINED,
        "--output",
        str(tmp_path / "r"),
    )
    assert hf_prune(*words).code == 0
    run = json.loads((tmp_path / "r" / "run.json").read_text())
    assert run["plan"]["removed"] == [4, 5]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--grow", "none"), "--grow none is neither auto nor a number"),
        (("--grow", "2", "--heal", "lora"), "--grow trains only the new layers"),
        (("--grow", "4", "--layers", "4-5"), "can take 1 to 2 new layers"),
    ],
)
def test_what_cannot_be_grown_is_refused(
    words: tuple[str, ...], said: str, trained_model: Path, tmp_path: Path
) -> None:
    outcome = hf_prune("run", str(trained_model), *words, *FEW, "--output", str(tmp_path / "run"))
    assert outcome.code == 2
    assert said in outcome.error()
