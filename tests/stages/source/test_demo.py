"""`hf-prune demo`: a real model, no account, no Hub; its card, and `hf-prune verify` of what that claims."""

import json
import re
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from hf_prune.commands.verify.origin import KEPT
from hf_prune.records.blocks import ranges
from tests.commands.test_prune import generates_alike_with_and_without_cache
from tests.loopback import LoopbackHub
from tests.support.tool import Outcome, hf_prune_apart

LESS_TEXT = ("--samples", "32", "--seq-len", "256", "--eval-samples", "16")  # a quarter of its own


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, Path]:
    """What it printed, and the run folder; one criterion chose, which takes a third of the time."""
    return demo_with("--method", "angular", folder=tmp_path_factory.mktemp("demo") / "demo")


def demo_with(*words: str, folder: Path) -> tuple[Outcome, Path]:
    outcome = hf_prune_apart("demo", *words, *LESS_TEXT, "--output", str(folder), HF_HUB_OFFLINE="1")
    assert outcome.code == 0, outcome.err
    return outcome, folder


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_it_removes_six_layers_and_repairs_the_gap(demo: tuple[Outcome, Path]) -> None:
    outcome, folder = demo
    model = folder / "model"
    assert outcome.out == f"{model}\n"
    run = json.loads((folder / "run.json").read_text())
    assert run["plan"]["removed"] == [13, 14, 15, 16, 17, 18]
    perplexity = {p["variant"]: p["perplexity"] for p in run["evaluated"]["perplexities"]}
    assert perplexity["dense"] < perplexity["bridged"] < 0.9 * perplexity["cut"]
    for said in ("perplexity", "tokens/s", f"card: {model / 'README.md'}"):
        assert said in outcome.err
    assert "it/s" not in outcome.err  # no progress bars where nobody watches
    generates_alike_with_and_without_cache(model)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_with_nothing_said_the_block_is_the_winner_of_a_tournament(tmp_path: Path) -> None:
    outcome, folder = demo_with(folder=tmp_path / "demo")
    plan = json.loads((folder / "run.json").read_text())["plan"]
    assert len(plan["removed"]) == 6
    assert plan["tournament"]["trials"][0]["removed"] == plan["removed"]
    angular = next(t for t in plan["tournament"]["trials"] if "angular" in t["proposed_by"])
    assert angular["removed"] == [13, 14, 15, 16, 17, 18]
    assert angular["behind"] >= 0
    assert "Tournament on" in outcome.err
    assert "tournament: of" in outcome.err


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_its_card_is_valid_has_the_figures_of_the_record_and_all_its_pictures(
    demo: tuple[Outcome, Path], home_hub: LoopbackHub
) -> None:
    _, folder = demo
    run = json.loads((folder / "run.json").read_text())
    text = (folder / "model" / "README.md").read_text()
    card = ModelCard(text)
    card.validate()  # by the Hub
    results = {result.metric_type: result.metric_value for result in card.data.eval_results}
    own = {name: run["evaluated"][name][-1] for name in ("perplexities", "choices")}
    assert {each["variant"] for each in own.values()} == {run["result"]["variant"]}
    assert results["perplexity"] == own["perplexities"]["perplexity"]
    assert results["accuracy"] == own["choices"]["accuracy"]
    assert card.data.base_model == run["source"]["repo_id"]
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert len(pictures) >= 4
    assert [name for name in pictures if not (folder / "model" / name).is_file()] == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_it_claims_holds_in_a_process_of_its_own(demo: tuple[Outcome, Path]) -> None:
    _, folder = demo
    outcome = hf_prune_apart("verify", str(folder), "--json", HF_HUB_OFFLINE="1")
    claims = {claim["name"]: claim for claim in json.loads(outcome.out)["claims"]}
    assert outcome.code == 0, outcome.err
    unchecked = {name for name, claim in claims.items() if claim["holds"] is None}
    assert unchecked == {"accuracy, cut", "speed and memory", "writing"}
    kept = json.loads((folder / "run.json").read_text())["plan"]["kept"]
    assert claims[KEPT]["claimed"].startswith(f"{ranges(kept)}, but for ")
    assert claims["perplexity, cut"]["holds"]
