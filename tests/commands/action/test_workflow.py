"""How a step speaks to its workflow, heard as the runner hears it."""

from pathlib import Path

import pytest

from hf_prune.commands.action.workflow import add_summary, annotate, set_outputs, without_commands
from tests.support.runner import commands_in, outputs_in


def test_an_annotation_may_have_any_text(capsys: pytest.CaptureFixture[str]) -> None:
    text = "50%0A of 3 layers\nand: more, \r\n::error::no"
    annotate("hf-prune a/b: c", text)
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) == 1
    assert commands_in(printed) == [("error", text)]


def test_what_is_printed_meanwhile_is_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    with without_commands():
        print("::error::from a model's own code")
        print("::set-output name=url::elsewhere")
    print("::warning::afterwards")
    found = [command for command in commands_in(capsys.readouterr().out) if command[0] != "stop-commands"]
    assert found == [("warning", "afterwards")]


def test_an_output_may_have_any_lines_and_sets_no_other(tmp_path: Path) -> None:
    outputs = {"reason": "one\nurl=https://elsewhere\nEOF\n", "url": "https://hub", "empty": ""}
    set_outputs(tmp_path / "file", {"reason": "before"})
    set_outputs(tmp_path / "file", outputs)
    assert outputs_in((tmp_path / "file").read_text()) == outputs


def test_summaries_follow_each_other(tmp_path: Path) -> None:
    add_summary(tmp_path / "file", "# one\n")
    add_summary(tmp_path / "file", "# two 🟦\n")
    assert (tmp_path / "file").read_text() == "# one\n\n# two 🟦\n\n"
