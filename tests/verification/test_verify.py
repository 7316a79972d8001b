"""`hf-prune verify` on one finished run, as it is and with something altered; `card` and `push` of it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import hf_prune as api
from hf_prune.card import render_card
from hf_prune.finished import read_finished, read_record, rebuild
from hf_prune.verification.figures import find_material
from hf_prune.verification.origin import KEPT
from hf_prune.verification.told import CARD, PICTURES
from tests.hub import LoopbackHub
from tests.sample_run import sample_text
from tests.tool import FEW, Finished, bytes_of, finished_push, hf_prune, hf_prune_apart, nothing_changes

PUBLISHED = "tester/tiny-4L"
QUICK = ("--method", "angular", "--bridge", "refit")


@pytest.fixture
def pushed(
    home_hub: LoopbackHub, tiny_models: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Finished:
    """A run that was pushed; the Hub is as it was right afterwards."""
    folder = tmp_path_factory.getbasetemp() / "verified"
    finished = finished_push(home_hub, tiny_models("llama"), folder, *QUICK)
    assert finished.outcome.code == 0, finished.outcome.err
    finished.restore(home_hub)
    return finished


@pytest.fixture
def copied(pushed: Finished, tmp_path: Path) -> Path:
    """The run folder, to be altered; hard links are parted from the original's."""
    return Path(shutil.copytree(pushed.folder, tmp_path / "run"))


def forge(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the record in `model/`, which is all that the Hub has, and leave run.json out."""
    path = folder / "model" / "hf_prune.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    (folder / "run.json").unlink()


def found(model: Path | str, **settings: Any) -> dict[str, bool | None]:
    return {claim.name: claim.holds for claim in api.verify(str(model), **settings).claims}


def test_a_published_model_holds_what_its_card_claims(pushed: Finished, home_hub: LoopbackHub) -> None:
    outcome = hf_prune("verify", PUBLISHED, "--json")
    told = json.loads(outcome.out)
    assert outcome.code == 0, outcome.err
    assert told["holds"] is True
    assert told["commit"] == home_hub.repositories["model", PUBLISHED.lower()].find("main").oid
    holds = {claim["name"]: claim["holds"] for claim in told["claims"]}
    not_checked = {name for name, held in holds.items() if held is None}
    assert not_checked == {"accuracy, cut", "speed and memory"}
    for name in (KEPT, CARD, PICTURES, "SHA-256 of model.safetensors", "layers", "accuracy, bridged"):
        assert holds[name] is True
    assert [name for name in holds if name.startswith("perplexity, ")] == [
        *("perplexity, dense", "perplexity, cut", "perplexity, bridged")
    ]
    for claim in told["claims"]:
        if claim["name"].startswith("perplexity, "):
            assert claim["measured"] == pytest.approx(claim["claimed"], rel=1e-5)


def test_a_run_folder_holds_without_its_original_and_says_what_was_not_checked(
    pushed: Finished, home_hub: LoopbackHub
) -> None:
    del home_hub.repositories["model", "acme/tiny"]
    outcome = hf_prune("verify", str(pushed.folder), "--no-measure")
    assert (outcome.code, outcome.out) == (0, "holds\n")
    assert f"not checked: {KEPT}: the original is not here: there is no model acme/tiny" in outcome.err
    assert outcome.err.splitlines()[-1].endswith(f"not checked: {KEPT}, figures")


def test_an_altered_weight_is_named(copied: Path, tiny_models: Callable[..., Path]) -> None:
    path = copied / "model" / "model.safetensors"
    weights = load_file(path)
    weights["model.layers.1.mlp.up_proj.weight"][0, 0] += 1e-3
    save_file(weights, path, metadata={"format": "pt"})
    outcome = hf_prune("verify", str(copied), "--base", str(tiny_models("llama")), "--no-measure")
    assert (outcome.code, outcome.out) == (1, "does not hold\n")
    *_, kept, last = outcome.err.splitlines()
    assert kept.startswith(f"does not hold: {KEPT}: claimed ")
    assert kept.endswith("(layer 1 has others in model.layers.1.mlp.up_proj.weight)")
    assert last.startswith("does not hold: SHA-256 of model.safetensors: claimed ")


def test_an_altered_figure_is_named_though_the_card_repeats_it(copied: Path) -> None:
    def flatter(record: dict[str, Any]) -> None:
        record["perplexities"][-1]["perplexity"] *= 0.97

    forge(copied, flatter)
    run = read_record(copied / "model" / "hf_prune.json").run
    (copied / "model" / "README.md").write_text(render_card(run, PUBLISHED))
    outcome = hf_prune("verify", str(copied / "model"))
    assert outcome.code == 1
    assert outcome.err.splitlines()[-1].startswith("does not hold: perplexity, bridged: claimed ")
    assert outcome.err.count("does not hold: ") == 1


def test_an_altered_kept_list_is_named_though_card_and_pictures_repeat_it(copied: Path) -> None:
    before: list[int] = []

    def lie(record: dict[str, Any]) -> None:
        plan = record["plan"]
        before.extend(plan["kept"])
        gone = plan["removed"][0]
        changed = max(layer for layer in plan["kept"] if layer < gone)
        plan["kept"][plan["kept"].index(changed)] = gone
        plan["removed"] = sorted({changed, *plan["removed"]} - {gone})
        first = plan["removed"][0]
        plan["blocks"] = [
            {"start": first, "end": first + 1},
            {"start": plan["removed"][1], "end": plan["removed"][1] + 1},
        ]

    forge(copied, lie)
    rebuild(read_finished(copied / "model"))
    outcome = hf_prune("verify", str(copied / "model"), "--no-measure")
    kept = read_record(copied / "model" / "hf_prune.json").run.plan.kept
    assert outcome.code == 1
    last = outcome.err.splitlines()[-1]
    assert last.startswith(f"does not hold: {KEPT}: claimed ")
    (number,) = (n for n, (one, other) in enumerate(zip(before, kept, strict=True)) if one != other)
    assert f"layer {number} " in last


def test_a_figure_altered_on_the_card_alone_is_named(copied: Path) -> None:
    card = copied / "model" / "README.md"
    card.write_text(card.read_text().replace("| Layers | 6 | 4 ", "| Layers | 6 | 3 ", 1))
    (claim,) = api.verify(str(copied), measure=False).failed
    assert claim.name == CARD
    assert "| Layers | 6 | 3 " in str(claim.claimed)
    assert "| Layers | 6 | 4 " in str(claim.measured)


def test_an_altered_picture_and_a_missing_weight_file_are_named(copied: Path) -> None:
    picture = copied / "model" / "plots" / "layer_map.png"
    picture.write_bytes(picture.read_bytes()[:-20] + b"x" * 20)
    (copied / "model" / "model.safetensors").unlink()
    names = [claim.name for claim in api.verify(str(copied)).failed]
    assert names == ["files of weights", PICTURES, "model"]


def test_of_an_older_record_what_can_be_read_is_checked(copied: Path) -> None:
    def age(record: dict[str, Any]) -> None:
        record["schema_version"] = 4
        for speed in record["speeds"]:
            del speed["first_token_seconds"]

    forge(copied, age)
    holds = found(copied / "model", measure=False)
    assert {name for name, held in holds.items() if held is None} == {"record", CARD, "figures"}
    assert False not in holds.values()
    outcome = hf_prune("card", str(copied / "model"))
    assert "has schema 4, and a card is made from schema 5" in outcome.error()


def test_what_hf_prune_did_not_make_is_refused(
    pushed: Finished, home_hub: LoopbackHub, tmp_path: Path
) -> None:
    line = hf_prune("verify", "acme/tiny").error()
    assert line.startswith("hf-prune: acme/tiny was not made by hf-prune: it has no hf_prune.json")
    assert "holds no finished run" in hf_prune("verify", str(tmp_path)).error()
    (tmp_path / "hf_prune.json").write_text('{"schema_version": 99}')
    assert "has schema 99, and this hf-prune reads" in hf_prune("verify", str(tmp_path)).error()
    (tmp_path / "hf_prune.json").write_text("[")
    assert "is not JSON" in hf_prune("verify", str(tmp_path)).error()


def test_a_text_that_a_record_names_leads_to_no_other_folder(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("nobody's business")
    (tmp_path / "data").mkdir()
    with pytest.raises(api.HfPruneError, match=r"there is no secret\.txt in "):
        find_material(sample_text("../secret.txt"), "decoder", tmp_path / "data")


# The card again, and publishing later


def test_the_card_and_its_pictures_are_made_anew_to_the_byte(copied: Path) -> None:
    before = bytes_of(copied)
    (copied / "model" / "README.md").write_text('model_id = "tester/tiny-4L"\n')
    shutil.rmtree(copied / "model" / "plots")
    outcome = hf_prune("card", str(copied))
    assert outcome.out == f"{(copied / 'model').resolve() / 'README.md'}\n"
    assert bytes_of(copied) == before


def test_a_card_that_cannot_be_made_leaves_everything_as_it_was(copied: Path) -> None:
    forge(copied, lambda record: record["similarity"].update(angular_last_token=[]))
    with nothing_changes(copied):
        assert hf_prune("card", str(copied / "model")).code == 1


def test_a_finished_run_is_published_later(copied: Path, pushed: Finished, home_hub: LoopbackHub) -> None:
    del home_hub.repositories["model", PUBLISHED.lower()]
    outcome = hf_prune("push", str(copied))
    assert outcome.out == f"{home_hub.url}/{PUBLISHED}\n"
    files = home_hub.files(PUBLISHED)
    del files[".gitattributes"]
    assert files == bytes_of(pushed.folder / "model")
    assert home_hub.repositories["model", PUBLISHED.lower()].private


def test_a_foreign_repository_is_not_overwritten_by_a_push(copied: Path, home_hub: LoopbackHub) -> None:
    outcome = hf_prune("push", str(copied), "--repo-id", "acme/tiny")
    assert "acme/tiny exists and was not made by hf-prune" in outcome.error()
    refused = hf_prune("push", str(copied / "model" / "plots"))
    assert "holds no finished run" in refused.error()
    shutil.move(copied / "model", copied.parent / "alone")
    assert "give the run folder itself" in hf_prune("push", str(copied.parent / "alone")).error()


# Runs of their own


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_demo_holds_in_a_process_of_its_own(tmp_path: Path) -> None:
    few = ("--samples", "8", "--eval-samples", "4", "--choice-items", "8")
    folder = str(tmp_path / "demo")
    made = hf_prune_apart("demo", "--layers", "13-18", "--bridge", "refit", *few, "--output", folder)
    assert made.code == 0, made.err
    outcome = hf_prune_apart("verify", folder, "--json", HF_HUB_OFFLINE="1")
    claims = {claim["name"]: claim for claim in json.loads(outcome.out)["claims"]}
    assert outcome.code == 0, outcome.err
    assert {name for name, claim in claims.items() if claim["holds"] is None} == {
        "accuracy, cut",
        "speed and memory",
    }
    assert claims[KEPT]["claimed"] == "0-12, 19-29, but for 1 tensor of the bridge"
    assert claims["perplexity, cut"]["holds"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("sort", "--depths", "2,4", "--heal-tokens", "2000"),
        ("grow", "--heal-tokens", "2000"),
        ("run", "--drop-layers", "1", "--heal", "lora", "--heal-tokens", "2000", "--method", "bi"),
    ],
    ids=lambda words: words[0],
)
def test_trained_models_hold(words: tuple[str, ...], trained_model: Path, tmp_path: Path) -> None:
    command, *rest = words
    folder = tmp_path / "run"
    made = hf_prune(command, str(trained_model), *rest, *FEW, "--device", "cpu", "--output", str(folder))
    assert made.code == 0, made.err
    holds = found(folder, base=str(trained_model), device="cpu")
    assert False not in holds.values()
    assert holds[KEPT] is True
    if command == "sort":
        assert holds["perplexity, first 2 layers of its own"]
        assert holds["perplexity, first 4 layers of the original"]


@pytest.mark.slow
def test_an_encoder_holds(tiny_encoders: Callable[[str], Path], tmp_path: Path) -> None:
    torch.manual_seed(0)
    words = ("--samples", "8", "--seq-len", "32", "--eval-samples", "4", "--drop-layers", "1")
    made = hf_prune(str(tiny_encoders("bert")), *words, "--output", str(tmp_path / "run"))
    assert made.code == 0, made.err
    holds = found(tmp_path / "run", base=str(tiny_encoders("bert")))
    assert [name for name, held in holds.items() if held is False] == []
    assert any(name.startswith("cosine to the original") and held for name, held in holds.items())
