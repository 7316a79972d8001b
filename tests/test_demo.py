"""`hf-prune demo`: a real model, no account, no Hub."""

import json
from pathlib import Path

import pytest

from tests.test_pipeline import generates_alike_with_and_without_cache
from tests.tool import hf_prune_apart

LESS_TEXT = (
    "--samples",
    "32",
    "--seq-len",
    "256",
    "--eval-samples",
    "16",
)  # a quarter of what the demo reads itself


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_demo_removes_the_six_layers_that_win_a_tournament_and_repairs_the_gaps(tmp_path: Path) -> None:
    words = ("demo", *LESS_TEXT, "--output", str(tmp_path / "demo"))
    outcome = hf_prune_apart(*words, HF_HUB_OFFLINE="1")
    assert outcome.code == 0, outcome.err
    model = tmp_path / "demo" / "model"
    assert outcome.out == f"{model}\n"
    run = json.loads((tmp_path / "demo" / "run.json").read_text())
    plan = run["plan"]
    assert len(plan["removed"]) == 6
    assert plan["tournament"]["trials"][0]["removed"] == plan["removed"]
    angular = next(t for t in plan["tournament"]["trials"] if "angular" in t["proposed_by"])
    assert angular["removed"] == [13, 14, 15, 16, 17, 18]
    assert angular["behind"] >= 0
    perplexity = {p["variant"]: p["perplexity"] for p in run["perplexities"]}
    assert perplexity["dense"] < perplexity["bridged"] < 0.9 * perplexity["cut"]
    for said in ("Tournament on", "tournament: of", "perplexity", "tokens/s", f"card: {model / 'README.md'}"):
        assert said in outcome.err
    generates_alike_with_and_without_cache(model)
