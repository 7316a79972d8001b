"""What a person reads in the terminal once a run has ended."""

import json
from pathlib import Path

import pytest

from hf_prune.cli.console.evaluation import rows_of
from hf_prune.cli.console.run import show
from hf_prune.commands.prune import Outcome
from hf_prune.records import Attempt
from hf_prune.stages.run import Run
from tests.support.sample_run import (
    remeasured,
    sample_grown_run,
    sample_run,
    sample_sorted_run,
    sample_speculation,
    sample_writing,
)


def shown(run: Run, capsys: pytest.CaptureFixture[str], *, as_json: bool = False) -> tuple[str, str]:
    """What is on stdout and on stderr."""
    show(Outcome(run=run, folder=Path("here"), published=None), as_json=as_json)
    captured = capsys.readouterr()
    return captured.out, captured.err


def row(table: str, name: str) -> list[str]:
    [line] = [line for line in table.splitlines() if line.strip("┃│ ").startswith(name)]
    return [cell.strip() for cell in line.strip("┃│").replace("┃", "│").split("│")]


def test_the_table_has_a_column_for_each_variant(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = shown(sample_run(variants=("cut", "bridged", "healed")), capsys)
    assert out == "here/model\n"
    assert row(err, "dense") == ["", "dense", "cut", "bridged", "healed"]
    assert row(err, "perplexity") == ["perplexity", "20.12", "61.25", "43.18", "28.41"]
    accuracies = ["65.6 %", "42.2 %", "51.6 %", "59.4 %"]
    assert row(err, "multiple choice") == ["multiple choice, accuracy", *accuracies]
    assert row(err, "stability") == ["stability", "", "69.1 %", "76.3 %", "88.1 %"]
    assert row(err, "tokens/s") == ["tokens/s", "31.4", "", "", "41.8"]


def test_what_was_written_and_read_elsewhere_has_rows_too(capsys: pytest.CaptureFixture[str]) -> None:
    run = sample_run(variants=("cut",))
    writings = (sample_writing("dense", 0.0312, None), sample_writing("cut", 0.4101, 7.5))
    run = remeasured(run, perplexities_elsewhere=run.evaluated.perplexities, writings=Attempt(found=writings))
    _, err = shown(run, capsys)
    assert row(err, "perplexity, ") == ["perplexity, c4_heldout", "20.12", "61.25"]
    assert row(err, "repetition") == ["repetition", "3.1 %", "41.0 %"]
    assert row(err, "in a batch") == ["in a batch", "97.4", "129.7"]
    assert row(err, "first token") == ["first token", "158 ms", "117 ms"]
    _, err = shown(remeasured(run, writings=Attempt(reason="no room")), capsys)
    assert "writing was not measured: no room\n" in err


def test_an_evaluation_has_the_same_rows_with_their_errors_and_differences() -> None:
    evaluated = sample_run(variants=("cut",)).evaluated
    rows = {row.name: row for row in rows_of(evaluated)}
    assert rows.keys() == {row.name for row in rows_of(evaluated, narrow=True)}
    accuracy = rows["multiple choice, accuracy"]
    assert (accuracy.cell("dense"), accuracy.cell("healed")) == ("65.6 ± 6.0 %", "")
    assert (accuracy.difference(), rows["  stability"].difference()) == ("-23.4 %", "")


def test_a_line_says_what_healing_gave(capsys: pytest.CaptureFixture[str]) -> None:
    _, err = shown(sample_run(variants=("cut", "healed")), capsys)
    assert "healed by lora on 299,008 tokens in 3 min: loss on text set aside 3.765 -> 3.346\n" in err


def test_nothing_is_said_of_a_healing_that_was_not_done(capsys: pytest.CaptureFixture[str]) -> None:
    _, err = shown(sample_run(), capsys)
    assert "heal" not in err


def test_a_line_says_what_a_draft_came_to(capsys: pytest.CaptureFixture[str]) -> None:
    _, err = shown(
        remeasured(sample_run(), speculations=Attempt(found=(sample_speculation("bridged"),))),
        capsys,
    )
    assert "bridged as a draft: 121 of 187 proposed tokens kept, 31.3 -> 37.9 tokens/s\n" in err
    _, err = shown(
        remeasured(sample_run(), speculations=Attempt(reason="no room")),
        capsys,
    )
    assert "as a draft it was not measured: no room\n" in err


def test_of_a_grown_model_the_new_layers_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    _, err = shown(sample_grown_run(), capsys)
    assert "SmolLM2-135M-37L: new layers 2, 5, 8, 11, 14, 17, 20 of 37\n" in err
    assert row(err, "dense") == ["", "dense", "healed"]
    assert row(err, "parameters") == ["parameters", "134.5M", "159.3M"]
    assert "trained (grown) on 299,008 tokens" in err
    assert "removed" not in err


def test_of_a_sorted_model_there_is_a_row_for_each_depth(capsys: pytest.CaptureFixture[str]) -> None:
    _, err = shown(sample_sorted_run(), capsys)
    assert "SmolLM2-135M-sorted: its first 12, 16, 20, 24, 30 layers are models of their own\n" in err
    assert row(err, "16") == ["16", "84.95M", "2988.10", "40.18", "58.8", "645 MB"]
    assert row(err, "30") == ["30", "134.5M", "20.12", "18.41", "31.3", "701 MB"]


def test_as_json_there_is_one_object_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = shown(sample_run(variants=("cut", "bridged", "healed")), capsys, as_json=True)
    assert err == ""
    told = json.loads(out)
    assert set(told) == {"folder", "model", "published", "refused", "run"}
    assert told["run"]["healing"]["best_step"] == 144
