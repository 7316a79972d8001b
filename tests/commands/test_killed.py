"""A run that is killed, at whatever moment, and started again leaves what an undisturbed one leaves.

A process kills itself by SIGKILL at something that it does to a file, which Python's audit events tell: no
clock decides. Each has the libraries from a server that imported them once, and goes on alone from there.
"""

import json
import multiprocessing
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from hf_prune.cli.main import main
from hf_prune.records import HealingPlan
from tests.support.tool import bytes_of

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    ["hf_prune.commands.prune", "hf_prune.stages.heal.session", "hf_prune.cli.console"]
)
WORDS = (
    *("--layers", "2-3", "--samples", "8", "--eval-samples", "2", "--seq-len", "64", "--choice-items", "4"),
    *("--heal", "lora", "--heal-tokens", "4k"),
)
MEASURED_TIMES = {"seconds", "started", "speeds", "speed_reason"}
HALF = b'{"global_step": 9, "log_history": [{"loss'


@dataclass(frozen=True)
class Moment:
    """Before the nth time that a process does something to a file."""

    event: str  # as sys.audit names it
    path: str  # a pattern: how it ends
    nth: int = 1
    half_written: str | None = None  # a file below the path, or "" for itself, of which half is there

    def kill_at(self) -> None:
        """From now on, this process dies at that moment."""
        left = self.nth

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal left
            if event != self.event or not isinstance(arguments[0], str | os.PathLike):
                return
            path = os.fspath(arguments[0])
            if not re.search(f"{self.path}$", str(path)):
                return
            left -= 1
            if left == 0:
                if self.half_written is not None:
                    half = Path(path) / self.half_written
                    half.parent.mkdir(parents=True, exist_ok=True)
                    half.write_bytes(HALF)
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)


def exit_code(log: Path, moment: Moment | None, work: Callable[..., None], *arguments: object) -> int:
    """Of a process of its own that does some work, unless it is killed: then minus SIGKILL."""
    process = FORKS.Process(target=_begin, args=(log, moment, work, *arguments))
    process.start()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL), log.read_text()
    return process.exitcode


def _begin(log: Path, moment: Moment | None, work: Callable[..., None], *arguments: object) -> None:
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if moment:
        moment.kill_at()
    work(*arguments)


def _hf_prune(*words: str) -> None:
    sys.argv = ["hf-prune", *words]
    main()


@dataclass(frozen=True)
class Command:
    """The same words, given again and again."""

    words: tuple[str, ...]
    folder: Path

    def run(self, moment: Moment | None = None) -> int:
        """The exit code of a process of its own."""
        log = self.folder.with_suffix(".log")
        return exit_code(log, moment, _hf_prune, *self.words, "--output", str(self.folder))

    def killed_at(self, *moments: Moment) -> None:
        """Run as often as there are moments; each comes."""
        for moment in moments:
            assert self.run(moment) == -signal.SIGKILL, moment


def forget_scores() -> None:
    """What was measured of a model is kept in the Hub's cache."""
    shutil.rmtree(Path(os.environ["HF_HOME"]) / "assets", ignore_errors=True)


@pytest.fixture(scope="module")
def undisturbed(trained_model, tmp_path_factory):
    """A folder with a run that nothing happened to."""
    forget_scores()
    command = Command((str(trained_model), *WORDS), tmp_path_factory.mktemp("undisturbed") / "run")
    assert command.run() == 0
    return command.folder


@pytest.fixture
def again(trained_model, undisturbed, tmp_path):
    """The same command for another folder, where only the speed, which always differs, is known."""
    command = Command((str(trained_model), *WORDS), tmp_path / "run")
    (command.folder / "stages").mkdir(parents=True)
    for name in ("recipe.json", "speed.json"):
        shutil.copyfile(undisturbed / "stages" / name, command.folder / "stages" / name)
    return command


def without_times(record: Any) -> Any:
    """A record without what a clock says."""
    if isinstance(record, dict):
        return {name: without_times(value) for name, value in record.items() if name not in MEASURED_TIMES}
    return [without_times(value) for value in record] if isinstance(record, list) else record


def left_by(folder: Path) -> dict[str, Any]:
    """Every file that a run leaves, but for what a clock says in some."""
    files: dict[str, Any] = bytes_of(folder)
    for name in [name for name in files if name.endswith(".json")]:
        files[name] = without_times(json.loads(files[name]))
    card = files["model/README.md"].decode().splitlines()
    files["model/README.md"] = [line for line in card if not re.search(r"\d (s|minutes|hours)\b", line)]
    return files


def assert_same(folder: Path, undisturbed: Path) -> None:
    """Nothing is missing, nothing is left over, and every byte is the same."""
    found, expected = left_by(folder), left_by(undisturbed)
    assert found.keys() == expected.keys()
    assert {name for name in found if found[name] != expected[name]} == set()


@pytest.mark.slow
def test_an_undisturbed_run_heals_and_tidies_up(undisturbed):
    """Else the tests below would compare less than they say."""
    run = json.loads((undisturbed / "run.json").read_text())
    assert run["healing"]["kept"]
    assert run["healing"]["best_step"] > 0
    assert run["result"]["variant"] == "healed"
    assert sorted(path.name for path in undisturbed.iterdir()) == [
        *("model", "run.json", "similarity.json", "stages")
    ]


@pytest.mark.slow
def test_killed_while_measuring(again, undisturbed):
    forget_scores()
    again.killed_at(
        Moment("open", r"llama/model\.safetensors", nth=3),  # some layers are measured
        Moment("open", r"/assets/.*\.json\.partial", half_written=""),
        Moment("os.rename", r"\.measure\.json\.partial"),
        Moment("open", r"\.choose\.json\.partial", half_written=""),
    )
    assert again.run() == 0
    assert_same(again.folder, undisturbed)


@pytest.mark.slow
def test_killed_while_cutting(again, undisturbed):
    again.killed_at(
        Moment("open", r"\.cut\.partial/tokenizer\.json", half_written=""),
        Moment("open", r"\.cut\.partial/model\.safetensors", nth=2),  # the header is written
        Moment("os.rename", r"\.cut\.partial"),
        Moment("open", r"\.cut\.json\.partial", half_written=""),
        Moment("open", r"\.bridged\.partial/model\.safetensors", half_written=""),
        Moment("os.rename", r"\.bridge\.json\.partial"),
    )
    assert again.run() == 0
    assert_same(again.folder, undisturbed)


@pytest.mark.slow
def test_killed_while_healing(again, undisturbed):
    again.killed_at(
        Moment("open", r"\.text\.safetensors\.partial", half_written=""),
        Moment("os.rename", r"\.healing-plan\.json\.partial"),
        Moment("open", r"\.lessons\.partial", half_written=""),
        Moment("os.rename", r"\.lessons\.partial"),
        Moment("open", r"/lessons", nth=2),  # no state is saved yet
        Moment("os.mkdir", r"/checkpoint-\d+", nth=3, half_written="model.safetensors"),
        Moment("open", r"/checkpoint-\d+/trainer_state\.json", nth=4),  # the first two are read
        Moment("open", r"/checkpoint-\d+/trainer_state\.json", nth=4, half_written=""),
        Moment("shutil.rmtree", r"/checkpoint-\d+"),
        Moment("os.rmdir", r"/checkpoint-\d+"),
        Moment("open", r"/lessons", nth=8),  # between two states
        Moment("open", r"\.healed\.partial/model\.safetensors", half_written=""),
        Moment("os.rename", r"\.healed\.partial"),
        Moment("open", r"\.heal\.json\.partial", half_written=""),
    )
    assert again.run() == 0
    assert_same(again.folder, undisturbed)


@pytest.mark.slow
def test_killed_while_evaluating_and_assembling(again, undisturbed):
    again.killed_at(
        Moment("open", r"\.perplexity-cut\.json\.partial", half_written=""),
        Moment("os.rename", r"\.perplexity-healed\.json\.partial"),
        Moment("os.rename", r"\.choices-cut\.json\.partial"),
        Moment("os.link", r"/healed/model\.safetensors"),
        Moment("open", r"\.model\.partial/\.README\.md\.partial", half_written=""),
        Moment("os.rename", r"\.model\.partial"),
        Moment("open", r"\.run\.json\.partial", half_written=""),  # beside the model
        Moment("os.rename", r"/stages/\.run\.json\.partial"),
        Moment("shutil.rmtree", r"/checkpoints"),
        Moment("os.rmdir", r"/checkpoints"),
    )
    assert again.run() == 0
    assert_same(again.folder, undisturbed)


def _train(checkpoint: Path, folder: Path) -> None:
    from hf_prune.machine.progress import silent
    from hf_prune.stages.heal.session import Session, train_together

    plan = HealingPlan(
        method="lora",
        reason=None,
        objective="text",  # adapters then drop some of their input at random
        targets="ffn",
        rank=4,
        learning_rate=1e-2,
        num_tokens=24 * 32,
        sequence_length=32,
        batch=2,
        micro_batch=1,
    )
    session = Session(
        plan=plan,
        checkpoint=str(checkpoint),
        carriers=(),
        new_layers=(),
        folder=str(folder),
        lessons=None,
        device="cpu",
        seed=5,
        trust_remote_code=False,
        report_to="none",
        name="tiny",
    )
    train_together(session, silent)


@pytest.mark.slow
def test_a_training_killed_after_every_step_ends_with_the_same_weights(trained_model, tmp_path):
    from hf_prune.stages.heal.material import TEXT_FILE
    from hf_prune.stages.heal.text import HealingText, save_text
    from hf_prune.stages.heal.training import load_trained

    windows = torch.randint(2, 320, (11, 32))  # one is watched; the others are read more than twice
    for name in ("undisturbed", "killed"):
        (tmp_path / name).mkdir()
        save_text(
            HealingText(windows, torch.ones_like(windows, dtype=torch.bool)), tmp_path / name / TEXT_FILE
        )
    assert exit_code(tmp_path / "log", None, _train, trained_model, tmp_path / "undisturbed") == 0

    # For each state its folder is asked for twice: the third time, the next state is begun.
    kills, second_state = 0, Moment("os.mkdir", r"/checkpoint-\d+", nth=3, half_written="model.safetensors")
    while exit_code(tmp_path / "log", second_state, _train, trained_model, tmp_path / "killed") != 0:
        kills += 1
        assert kills < 12

    assert kills == 11  # each of twelve processes went one step further than the one before
    found, expected = load_trained(tmp_path / "killed"), load_trained(tmp_path / "undisturbed")
    assert found.weights.keys() == expected.weights.keys()
    assert all(torch.equal(found.weights[name], expected.weights[name]) for name in expected.weights)
    assert (found.curve, found.best_step) == (expected.curve, expected.best_step)
    assert len(expected.curve) == 13
