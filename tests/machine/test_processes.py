"""Two processes that heal together on this machine's CPU, started as users start them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.checkout import ROOT
from tests.support.tool import Outcome, hf_prune_apart

TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m")
ACCELERATE = (  # on one machine, its launcher starts several processes only for several GPUs
    *("accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"),
    *("--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0", "-m"),
)
WORDS = (
    *("--layers", "2-3", "--samples", "8", "--eval-samples", "2", "--seq-len", "64", "--bridge", "none"),
    *("--heal", "lora", "--heal-tokens", "2k", "--heal-batch", "4"),
)


def launched(launcher: tuple[str, ...], *words: str, **environment: str) -> Outcome:
    """`LAUNCHER hf_prune WORDS`."""
    done = subprocess.run(
        [sys.executable, "-m", *launcher, "hf_prune", *words],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def run_of(folder: Path) -> dict[str, Any]:
    """The content of run.json."""
    content: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return content


@pytest.fixture(scope="module")
def by_one(trained_model, tmp_path_factory):
    """The record of a run by one process."""
    folder = tmp_path_factory.mktemp("one") / "run"
    outcome = hf_prune_apart(str(trained_model), *WORDS, "--output", str(folder))
    assert outcome.code == 0, outcome.err
    return run_of(folder)


@pytest.mark.parametrize(
    "launcher",
    [
        pytest.param(TORCHRUN, id="torchrun", marks=pytest.mark.slow),
        pytest.param(ACCELERATE, id="accelerate", marks=pytest.mark.long),
    ],
)
def test_two_processes_train_what_one_does(launcher, by_one, trained_model, tmp_path):
    """Each step reads the same windows, but their gradients are summed in another order.

    Sums of float32 then differ in the last of some seven digits, which a few steps carry on: 1e-5 is far more
    than that, and far less than the effect of one window more or less in a step.
    """
    outcome = launched(launcher, str(trained_model), *WORDS, "--output", str(tmp_path / "two"))
    assert outcome.code == 0, outcome.err
    assert outcome.out == f"{tmp_path / 'two' / 'model'}\n"  # printed once
    assert outcome.err.count("4 kept") == 1
    healing = run_of(tmp_path / "two")["healing"]
    assert (healing["plan"]["batch"], healing["plan"]["micro_batch"]) == (4, 2)  # half for each process
    assert (by_one["healing"]["plan"]["batch"], by_one["healing"]["plan"]["micro_batch"]) == (4, 4)
    for loss in ("loss", "watched_loss"):
        curve, expected = (
            [point[loss] for point in record["curve"] if point["step"]]
            for record in (healing, by_one["healing"])
        )
        assert len(expected) == 7
        assert curve == pytest.approx(expected, rel=1e-5)


def test_an_error_of_the_first_process_ends_all_and_is_printed_once(trained_model, tmp_path):
    """The others wait for a training that never starts."""
    words = ("--heal", "replace", "--layers", "0-1", "--samples", "4", "--seq-len", "32")
    outcome = launched(TORCHRUN, str(trained_model), *words, "--output", str(tmp_path / "run"))
    assert outcome.code != 0
    assert outcome.out == ""
    errors = [line for line in outcome.err.splitlines() if line.startswith("hf-prune: ")]
    assert errors == [
        "hf-prune: --heal replace trains the layer before a gap, and nothing comes before layer 0: "
        "--heal lora"
    ]
    assert "unexpected" not in outcome.err


@pytest.mark.slow
def test_only_the_first_process_prints_an_error_about_options():
    outcome = launched(TORCHRUN, "model", "--ratio", "0.5", "--drop-layers", "2")
    assert outcome.code != 0
    assert len([line for line in outcome.err.splitlines() if line.startswith("hf-prune")]) == 1


SHARED_OUT = """
import sys
from pathlib import Path

import torch
import torch.distributed as distributed
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    set_model_state_dict,
)
from torch.distributed.fsdp import fully_shard
from transformers import set_seed

from hf_prune.stages.heal.student import load_student
from hf_prune.records import HealingPlan
from hf_prune.model.skeleton import build_skeleton

model, method = sys.argv[1:]
plan = HealingPlan(
    method=method,
    reason=None,
    objective="states" if method == "replace" else "predictions",
    boundary_loss=1.0,
    targets="all",
    rank=4,
    gradient_checkpointing=method == "lora",
)


def student():
    set_seed(5)
    return load_student(build_skeleton(Path(model)), plan, (1,), torch.device("cpu")).train()


def step(student, rows):
    trained = [parameter for parameter in student.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.5)
    loss = student(ids[rows], torch.ones_like(ids[rows], dtype=torch.bool), states=states[rows])["loss"]
    loss.backward()
    optimizer.step()
    return loss.detach()


distributed.init_process_group("gloo")
rank = distributed.get_rank()
generator = torch.Generator().manual_seed(0)
ids = torch.randint(2, 320, (2, 32), generator=generator)
states = torch.randn(2, 1, 32, 32, generator=generator).bfloat16()
whole, shared = student(), student()
for module in [m for m in shared.modules() if type(m).__name__ in shared._no_split_modules]:
    fully_shard(module)
fully_shard(shared)  # as accelerate does it
assert all(parameter.to_local().numel() < parameter.numel() for parameter in shared.parameters())

expected = step(whole, slice(0, 2))
loss = step(shared, slice(rank, rank + 1))
distributed.all_reduce(loss)
torch.testing.assert_close(loss / 2, expected)

# As accelerate saves and loads a full state.
options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True, cpu_offload=True)
state = get_model_state_dict(shared, options=options)
if rank == 0:
    trained = {name for name, parameter in whole.named_parameters() if parameter.requires_grad}
    assert state.keys() == trained
    torch.testing.assert_close(state, dict(whole.state_dict()))
other = {name: value + 1 for name, value in state.items()}
set_model_state_dict(shared, dict(other), options=options)
loaded = get_model_state_dict(shared, options=options)
if rank == 0:
    torch.testing.assert_close(loaded, other)
    print("the same")
distributed.destroy_process_group()
"""


@pytest.mark.long
@pytest.mark.parametrize("method", ["lora", "replace"])
def test_a_sharded_model_takes_the_step_of_a_whole_one(method, trained_model, tmp_path):
    """FSDP2 itself, which runs on gloo too; accelerate offers it only on GPUs."""
    (tmp_path / "shared_out.py").write_text(SHARED_OUT)
    command = [
        sys.executable,
        "-m",
        *TORCHRUN[:-1],
        str(tmp_path / "shared_out.py"),
        str(trained_model),
        method,
    ]
    root = str(ROOT)
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "the same\n"
