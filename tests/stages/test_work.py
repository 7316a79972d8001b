"""A run folder belongs to one recipe, and a finished stage is not done again."""

import json

import pytest

from hf_prune.errors import OutputOccupied
from hf_prune.records import Check
from hf_prune.stages.work import RunFolder


def record(detail="1"):
    return Check(name="a", passed=True, detail=detail)


def finish(folder, inputs="x", detail="1", **keywords):
    """Run a stage and say what it gave and whether it was computed."""
    computed = []

    def compute():
        computed.append(detail)
        return record(detail)

    return folder.stage("prove", Check, inputs, compute, **keywords), bool(computed)


def test_a_new_or_empty_folder_is_claimed(tmp_path):
    RunFolder(tmp_path / "new").claim("r", fresh=False)
    RunFolder(tmp_path / "new").claim("r", fresh=False)
    (tmp_path / "empty").mkdir()
    RunFolder(tmp_path / "empty").claim("r", fresh=False)


@pytest.mark.parametrize("fresh", [True, False])
def test_a_folder_that_holds_something_else_is_left_alone(tmp_path, fresh):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputOccupied, match="was not made by hf-prune"):
        RunFolder(tmp_path).claim("r", fresh=fresh)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_in_its_place_is_refused(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(OutputOccupied, match="is a file"):
        RunFolder(tmp_path / "run").claim("r", fresh=False)


def test_another_recipe_is_refused_once_a_stage_is_finished(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.claim("one", fresh=False)
    folder.claim("two", fresh=False)  # nothing was done for "one" yet
    finish(folder)
    with pytest.raises(OutputOccupied, match="--fresh"):
        folder.claim("three", fresh=False)


def test_fresh_throws_away_an_earlier_run_and_nothing_else(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.claim("one", fresh=False)
    finish(folder)
    (folder.path / "run.json").write_text("{}")
    folder.model.mkdir()
    (folder.path / "notes.txt").write_text("mine")
    folder.claim("two", fresh=True)
    assert sorted(path.name for path in folder.path.iterdir()) == ["notes.txt", "stages"]
    assert finish(folder)[1]


def test_a_stage_is_done_once_and_again_when_its_inputs_change(tmp_path):
    folder = RunFolder(tmp_path)
    assert finish(folder, "x", "1") == (record("1"), True)
    assert finish(folder, "x", "2") == (record("1"), False)
    assert finish(folder, "y", "2") == (record("2"), True)


def test_a_stage_is_done_again_when_the_folder_it_left_is_gone(tmp_path):
    folder, left = RunFolder(tmp_path), tmp_path / "checkpoints" / "cut"
    left.mkdir(parents=True)
    assert finish(folder, output_folder=lambda _: left)[1]
    assert not finish(folder, output_folder=lambda _: left)[1]
    left.rmdir()
    assert finish(folder, output_folder=lambda _: left)[1]


def test_a_stage_that_fails_leaves_no_record(tmp_path):
    def fail():
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        RunFolder(tmp_path).stage("prove", Check, "x", fail)
    assert not (tmp_path / "stages" / "prove.json").exists()


def test_a_stage_file_is_one_json_document(tmp_path):
    finish(RunFolder(tmp_path))
    stored = json.loads((tmp_path / "stages" / "prove.json").read_text())
    assert stored == {"inputs": "x", "record": {"name": "a", "passed": True, "detail": "1"}}
