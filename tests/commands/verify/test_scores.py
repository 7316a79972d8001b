"""`hf-prune verify` of scores: the harness measures them again, on the recorded items alone."""

import json
import shutil
from pathlib import Path

import pytest

import hf_prune as api
from tests.support.checkout import ROOT
from tests.support.tool import FEW, hf_prune

TASKS = ROOT / "tests" / "support" / "tasks"
CLAIM = "own_choices acc (none), cut"

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _in_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tasks name their items from there."""
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def scored(trained_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was measured on tasks of its own."""
    folder = tmp_path_factory.mktemp("scored") / "run"
    words = ("--layers", "2", "--bridge", "none", "--eval", "own_choices", "--tasks-from", str(TASKS))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        made = hf_prune(str(trained_model), *words, "--limit", "12", *FEW, "--output", str(folder))
    assert made.code == 0, made.err
    return folder


def scores_of(folder: Path, base: Path, data: Path) -> dict[str, bool | None]:
    claims = api.verify(str(folder), base=str(base), data=data, device="cpu").claims
    return {claim.name: claim.holds for claim in claims if claim.name.startswith("own_choices")}


def test_scores_are_measured_again_and_an_altered_one_does_not_hold(
    scored: Path, trained_model: Path, tmp_path: Path
) -> None:
    figures = ("acc (none)", "acc_norm (none)")
    expected = {
        f"own_choices {figure}, {variant}": True for variant in ("dense", "cut") for figure in figures
    }
    assert scores_of(scored, trained_model, TASKS.parent) == expected
    copied = Path(shutil.copytree(scored, tmp_path / "run"))
    for path in (copied / "run.json", copied / "model" / "hf_prune.json"):
        record = json.loads(path.read_text())
        flattered = next(
            s for s in record["evaluated"]["scores"]["found"] if (s["variant"], s["metric"]) == ("cut", "acc")
        )
        flattered["value"] += 2 / 12
        path.write_text(json.dumps(record))
    assert scores_of(copied, trained_model, TASKS.parent) == expected | {CLAIM: False}


def test_other_items_and_missing_tasks_are_told_and_are_no_failure(
    scored: Path, trained_model: Path, tmp_path: Path
) -> None:
    assert set(scores_of(scored, trained_model, tmp_path).values()) == {None}
    tasks = Path(shutil.copytree(TASKS, tmp_path / "tasks"))
    items = (TASKS / "own_choices.jsonl").read_text().replace("frozen water", "frozen tea")
    (tasks / "own_choices.jsonl").write_text(items)
    settings = (tasks / "own_choices.yaml").read_text()
    (tasks / "own_choices.yaml").write_text(
        settings.replace("tests/support/tasks/own_choices.jsonl", str(tasks / "own_choices.jsonl"))
    )
    claims = api.verify(str(scored), base=str(trained_model), data=tmp_path, device="cpu").unchecked
    told = {claim.name: claim.detail for claim in claims}
    assert told[CLAIM] == "own_choices has different items here"
