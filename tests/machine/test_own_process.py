"""What a process of its own printed, or why it failed."""

from hf_prune.machine.own_process import figures_from
from hf_prune.machine.progress import silent

PRINTER = "json.tool"  # any module that prints JSON


def test_each_line_that_is_an_object_is_a_figure(tmp_path):
    given = tmp_path / "given.jsonl"
    given.write_text('{"seconds": 1.5}\n"a warning of some library"\n{"seconds": 2}\n')
    words = ["--json-lines", "--compact", str(given)]
    assert figures_from(PRINTER, words, silent, "label", 2) == ([{"seconds": 1.5}, {"seconds": 2}], None)


def test_a_process_that_fails_says_why(tmp_path):
    found, reason = figures_from(PRINTER, [str(tmp_path / "missing")], silent, "label", 1)
    assert found == []
    assert reason.startswith("the models could not be run: ")
    assert "missing" in reason


def test_what_is_printed_before_a_failure_is_kept(tmp_path):
    given = tmp_path / "given.jsonl"
    given.write_text('{"seconds": 1}\nnonsense\n')
    found, reason = figures_from(PRINTER, ["--json-lines", "--compact", str(given)], silent, "label", 2)
    assert found == [{"seconds": 1}]
    assert reason is not None
