"""`hf-prune meta-llama/Llama-2-7b --push`, word for word: a repository in Meta's original format."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from tests.loopback import LoopbackHub
from tests.support.tool import hf_prune

NAMED = "meta-llama/Llama-2-7b"
COMMAND = (NAMED, "--push")
CARD = b"---\nlicense: llama2\nlanguage: en\n---\n\n# Llama 2\n"
ORIGINAL = {
    "consolidated.00.pth": b"pickled",
    "params.json": b"{}",
    "tokenizer.model": b"sentencepiece",
    "checklist.chk": b"0  consolidated.00.pth\n",
    "README.md": CARD,
}


@pytest.fixture
def sibling(tiny_models: Callable[..., Path]) -> Mapping[str, bytes]:
    """The same model in transformers' format."""
    folder = tiny_models("llama", num_hidden_layers=8)
    return {"README.md": CARD, **{path.name: path.read_bytes() for path in folder.iterdir()}}


@pytest.mark.slow
def test_the_command_on_the_box_takes_the_sibling_in_transformers_format_and_publishes(
    home_hub: LoopbackHub,
    sibling: Mapping[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home_hub.add_repository(NAMED, ORIGINAL, gated="manual").granted.add("tester")
    home_hub.add_repository(f"{NAMED}-hf", sibling, gated="manual").granted.add("tester")
    monkeypatch.chdir(tmp_path)
    outcome = hf_prune(*COMMAND)
    assert (outcome.code, outcome.out) == (0, f"{home_hub.url}/tester/Llama-2-7b-hf-6L\n")
    assert f"{NAMED} is in Meta's original format; using {NAMED}-hf" in outcome.err
    data = ModelCard.load("tester/Llama-2-7b-hf-6L").data
    assert (data.base_model, data.license) == (f"{NAMED}-hf", "llama2")
    run = json.loads((tmp_path / "Llama-2-7b-hf-6L" / "run.json").read_text())
    assert (run["source"]["model"], run["source"]["repo_id"]) == (NAMED, f"{NAMED}-hf")
    assert home_hub.calls_to("GET", "consolidated") == []


def test_without_that_sibling_it_stops_and_says_how_to_convert(
    home_hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home_hub.add_repository(NAMED, ORIGINAL)
    monkeypatch.chdir(tmp_path)
    outcome = hf_prune(*COMMAND)
    assert outcome.code == 1
    assert f"{NAMED} is in Meta's original format and has no sibling {NAMED}-hf" in outcome.error()
    assert f"hf download {NAMED} --local-dir original" in outcome.error()
    assert "--input_dir original --output_dir converted --num_shards 1 --llama_version 2" in outcome.error()
    assert list(tmp_path.iterdir()) == []


def test_a_gated_sibling_without_a_grant_says_where_to_ask_for_one(
    home_hub: LoopbackHub,
    sibling: Mapping[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home_hub.add_repository(NAMED, ORIGINAL, gated="manual")
    home_hub.add_repository(f"{NAMED}-hf", sibling, gated="manual")
    monkeypatch.chdir(tmp_path)
    outcome = hf_prune(*COMMAND)
    assert outcome.code == 1
    assert f"{NAMED}-hf is gated and this account has not accepted its terms" in outcome.error()
    assert f"accept them at {home_hub.url}/{NAMED}-hf" in outcome.error()
    assert list(tmp_path.iterdir()) == []
