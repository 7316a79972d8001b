"""`hf-prune verify` of one finished run, as it is and with something altered; `hf-prune card` of it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import hf_prune as api
from hf_prune.commands.finished import read_finished, rebuild
from hf_prune.commands.verify.card import CARD, PICTURES
from hf_prune.commands.verify.figures import find_material
from hf_prune.commands.verify.origin import KEPT
from hf_prune.stages.card.card import render_card
from hf_prune.stages.run import read_record
from tests.support.old_records import in_schema_5
from tests.support.sample_run import sample_text
from tests.support.tool import FEW, bytes_of, hf_prune, nothing_changes
from tests.support.verified_runs import make_run


@pytest.fixture(scope="module")
def finished(tiny_models: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tiny_models("llama"), tmp_path_factory.mktemp("finished") / "run")


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """The run folder, to be altered."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def base(tiny_models: Callable[..., Path]) -> str:
    return str(tiny_models("llama"))


def forge(folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Change the record in `model/`, which is all that the Hub has."""
    path = folder / "model" / "hf_prune.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    (folder / "run.json").unlink()
    return folder / "model"


def found(model: Path | str, **settings: Any) -> dict[str, bool | None]:
    return {claim.name: claim.holds for claim in api.verify(str(model), **settings).claims}


def test_every_claim_holds_of_what_was_not_altered(finished: Path, base: str) -> None:
    claims = {claim.name: claim for claim in api.verify(str(finished), base=base, device="cpu").claims}
    assert {name for name, claim in claims.items() if claim.holds is False} == set()
    assert {name for name, claim in claims.items() if claim.holds is None} == {
        "accuracy, cut",
        "speed and memory",
    }
    assert claims[KEPT].claimed == "0-2, 5, but for 1 tensor of the bridge"
    for name in ("dense", "cut", "bridged"):  # the cut was measured on a checkpoint of its own
        claim = claims[f"perplexity, {name}"]
        assert claim.measured == pytest.approx(claim.claimed, rel=1e-6)
    assert claims["agreement, bridged"].holds


def test_without_the_original_the_rest_is_checked_and_the_command_says_so(finished: Path) -> None:
    outcome = hf_prune("verify", str(finished), "--no-measure")
    assert (outcome.code, outcome.out) == (0, "holds\n")
    assert f"not checked: {KEPT}: the original is not available: tiny was a local folder" in outcome.err
    assert outcome.err.splitlines()[-1].endswith(f" claims hold; 2 not checked: {KEPT}, figures")


def test_an_altered_weight_is_named(copied: Path, base: str) -> None:
    path = copied / "model" / "model.safetensors"
    weights = load_file(path)
    weights["model.layers.1.mlp.up_proj.weight"][0, 0] += 1e-3
    save_file(weights, path, metadata={"format": "pt"})
    outcome = hf_prune("verify", str(copied), "--base", base, "--no-measure")
    assert (outcome.code, outcome.out) == (1, "does not hold\n")
    *_, kept, last = outcome.err.splitlines()
    assert kept.startswith(f"does not hold: {KEPT}: claimed ")
    assert kept.endswith("(layer 1 has others in model.layers.1.mlp.up_proj.weight)")
    assert last.startswith("does not hold: SHA-256 of model.safetensors: claimed ")


def test_an_altered_figure_is_named_though_the_card_repeats_it(copied: Path, base: str) -> None:
    def flatter(record: dict[str, Any]) -> None:
        record["evaluated"]["perplexities"][-1]["perplexity"] *= 0.97

    model = forge(copied, flatter)
    run = read_record(model / "hf_prune.json").run
    (model / "README.md").write_text(render_card(run))
    outcome = hf_prune("verify", str(model), "--base", base, "--json")
    told = json.loads(outcome.out)
    assert (outcome.code, told["holds"]) == (1, False)
    assert [claim["name"] for claim in told["claims"] if claim["holds"] is False] == ["perplexity, bridged"]


def test_an_altered_kept_list_is_named_though_card_and_pictures_repeat_it(copied: Path, base: str) -> None:
    def lie(record: dict[str, Any]) -> None:
        blocks = [{"start": 2, "end": 3}, {"start": 4, "end": 5}]
        record["plan"].update(kept=[0, 1, 3, 5], removed=[2, 4], blocks=blocks)

    model = forge(copied, lie)
    rebuild(read_finished(model))
    outcome = hf_prune("verify", str(model), "--base", base, "--no-measure")
    assert outcome.code == 1
    last = outcome.err.splitlines()[-1]
    assert last.startswith(f"does not hold: {KEPT}: claimed 0-1, 3, 5")
    assert "(layer 2 has others in " in last  # it is layer 2 but for the tensor of the bridge


def test_a_layer_that_is_another_one_is_recognised(copied: Path, base: str) -> None:
    model = forge(copied, lambda record: record["plan"].update(kept=[0, 2, 3, 5], removed=[1, 4]))
    claims = {claim.name: claim for claim in api.verify(str(model), base=base, measure=False).claims}
    assert claims[KEPT].holds is False
    assert "layer 1 is layer 1 of the original, not 2" in str(claims[KEPT].detail)


def test_an_altered_picture_and_a_missing_weight_file_are_named(copied: Path) -> None:
    picture = copied / "model" / "plots" / "layer_map.png"
    picture.write_bytes(picture.read_bytes()[:-20] + b"x" * 20)
    (copied / "model" / "model.safetensors").unlink()
    names = [claim.name for claim in api.verify(str(copied)).failed]
    assert names == ["files of weights", PICTURES, "model"]


def test_of_an_older_record_what_can_be_read_is_checked(copied: Path) -> None:
    def age(record: dict[str, Any]) -> None:
        old = in_schema_5(record) | {"schema_version": 4}
        for speed in old["speeds"]:
            del speed["first_token_seconds"]
        record.clear()
        record.update(old)

    model = forge(copied, age)
    holds = found(model, measure=False)
    assert {name for name, held in holds.items() if held is None} == {"record", CARD, KEPT, "figures"}
    assert False not in holds.values()
    outcome = hf_prune("card", str(model))
    assert "has schema 4, and a card is made from schema 6" in outcome.error()


def test_what_holds_no_finished_run_is_refused(tmp_path: Path) -> None:
    assert "holds no finished run" in hf_prune("verify", str(tmp_path)).error()
    (tmp_path / "hf_prune.json").write_text('{"schema_version": 99}')
    assert "has schema 99, and this hf-prune reads" in hf_prune("verify", str(tmp_path)).error()
    (tmp_path / "hf_prune.json").write_text("[")
    assert "is not JSON" in hf_prune("verify", str(tmp_path)).error()
    assert "there is no folder" in hf_prune("card", str(tmp_path / "none")).error()


def test_a_text_that_a_record_names_leads_to_no_other_folder(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("nobody's business")
    (tmp_path / "data").mkdir()
    with pytest.raises(api.HfPruneError, match=r"there is no secret\.txt in "):
        find_material(sample_text("../secret.txt"), "decoder", tmp_path / "data")


# The card again


def test_the_card_and_its_pictures_are_made_anew_to_the_byte(copied: Path) -> None:
    before = bytes_of(copied)
    (copied / "model" / "README.md").unlink()
    shutil.rmtree(copied / "model" / "plots")
    outcome = hf_prune("card", str(copied))
    assert outcome.out == f"{(copied / 'model').resolve() / 'README.md'}\n"
    assert bytes_of(copied) == before


def test_a_card_that_cannot_be_made_leaves_everything_as_it_was(copied: Path) -> None:
    model = forge(copied, lambda record: record["similarity"].update(angular_last_token=[]))
    with nothing_changes(copied):
        assert hf_prune("card", str(model)).code == 1


# Runs of their own


@pytest.mark.long
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
