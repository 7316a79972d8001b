"""`hf-prune demo`: a real model, no account, no Hub."""

import json
from pathlib import Path

import pytest

from tests.test_pipeline import generates_alike_with_and_without_cache
from tests.tool import hf_prune_apart


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_demo_removes_six_layers_of_a_real_model_and_the_bridge_repairs_a_fifth(tmp_path: Path) -> None:
    outcome = hf_prune_apart("demo", "--output", str(tmp_path / "demo"), HF_HUB_OFFLINE="1")
    assert outcome.code == 0, outcome.err
    model = tmp_path / "demo" / "model"
    assert outcome.out == f"{model}\n"
    run = json.loads((tmp_path / "demo" / "run.json").read_text())
    assert run["plan"]["removed"] == [13, 14, 15, 16, 17, 18]
    perplexity = {p["variant"]: p["perplexity"] for p in run["perplexities"]}
    assert perplexity["dense"] < perplexity["bridged"] < 0.8 * perplexity["cut"]
    for said in ("layers 13-18 removed", "perplexity", "tokens/s", f"card: {model / 'README.md'}"):
        assert said in outcome.err
    generates_alike_with_and_without_cache(model)
