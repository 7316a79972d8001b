"""A finished run, read back."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from hf_prune.commands.finished import address_on, read_finished
from hf_prune.errors import UnreadableRecord
from hf_prune.records import to_json
from hf_prune.stages.run import SCHEMA_VERSION, Run, read_record
from tests.support.old_records import in_schema_5
from tests.support.sample_run import sample_encoder_run, sample_grown_run, sample_run, sample_sorted_run


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "hf_prune.json"
    for run in (sample_run(), sample_sorted_run()):
        path.write_text(to_json(run))
        recorded = read_record(path)
        assert (recorded.run, recorded.schema_version, recorded.left_out) == (run, SCHEMA_VERSION, ())


@pytest.mark.parametrize("run", [sample_run(), sample_sorted_run(), sample_grown_run(), sample_encoder_run()])
def test_a_record_of_schema_5_is_read_whole(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "hf_prune.json"
    path.write_text(json.dumps(in_schema_5(json.loads(to_json(run)))))
    recorded = read_record(path)
    assert (recorded.schema_version, recorded.left_out) == (5, ())
    assert replace(recorded.run, schema_version=SCHEMA_VERSION) == replace(run, intermediate=())


def test_of_an_older_record_speeds_are_left_out_those_of_depths_too(tmp_path: Path) -> None:
    path = tmp_path / "hf_prune.json"
    record = in_schema_5(json.loads(to_json(sample_sorted_run()))) | {"schema_version": 4}
    for speed in (*record["speeds"], *(depth["speed"] for depth in record["depths"])):
        speed["prompt_tokens_per_second"] = 800.0
    path.write_text(json.dumps(record))
    recorded = read_record(path)
    assert (recorded.schema_version, recorded.left_out) == (4, ("speeds",))
    assert [depth.speed for depth in recorded.run.evaluated.depths] == [None] * 5
    assert recorded.run.evaluated.perplexities == sample_sorted_run().evaluated.perplexities


def test_a_record_of_this_schema_with_an_unknown_field_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "hf_prune.json"
    path.write_text(json.dumps(json.loads(to_json(sample_run())) | {"more": 1}))
    with pytest.raises(UnreadableRecord, match=r"Run has no field more.*use hf-prune 0\.1\.0"):
        read_record(path)


def test_a_run_folder_its_model_and_a_copy_of_that_are_the_same_run(tmp_path: Path) -> None:
    run, model = tmp_path / "run", tmp_path / "run" / "model"
    model.mkdir(parents=True)
    (model / "hf_prune.json").write_text(to_json(sample_run()))
    copy = read_finished(model)
    assert (copy.model, copy.folder, copy.repo_id) == (model.resolve(), None, None)
    (run / "run.json").write_text(to_json(sample_run()))
    (model / "README.md").write_text('text\nmodel_id = "acme/small"\n')
    for place in (run, model):
        found = read_finished(place)
        assert found.folder is not None
        assert (found.folder.path, found.model, found.repo_id) == (
            run.resolve(),
            model.resolve(),
            "acme/small",
        )


def test_a_folder_on_a_card_is_no_address() -> None:
    assert address_on('model_id = "./small"') is None
    assert address_on("nothing") is None
