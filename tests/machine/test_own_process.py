"""The objects that a module prints in a process of its own, or why it failed."""

from hf_prune.machine.own_process import run_module
from hf_prune.machine.progress import silent

PRINTER = "json.tool"  # any module that prints JSON


def test_each_line_with_an_object_counts(tmp_path):
    path = tmp_path / "input.jsonl"
    path.write_text('{"seconds": 1.5}\n"a warning of some library"\n{"seconds": 2}\n')
    arguments = ["--json-lines", "--compact", str(path)]
    assert run_module(PRINTER, arguments, silent, "label", 2) == ([{"seconds": 1.5}, {"seconds": 2}], None)


def test_a_process_that_fails_says_why(tmp_path):
    objects, reason = run_module(PRINTER, [str(tmp_path / "missing")], silent, "label", 1)
    assert objects == []
    assert reason.startswith("the models could not be run: ")
    assert "missing" in reason


def test_objects_before_a_failure_are_kept(tmp_path):
    path = tmp_path / "input.jsonl"
    path.write_text('{"seconds": 1}\nnonsense\n')
    objects, reason = run_module(PRINTER, ["--json-lines", "--compact", str(path)], silent, "label", 2)
    assert objects == [{"seconds": 1}]
    assert reason is not None
