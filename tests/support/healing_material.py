"""A tiny model, a text, and a plan to train it by: what the tests of healing start from."""

from dataclasses import replace
from pathlib import Path

import torch

from hf_prune.machine.progress import Progress, silent
from hf_prune.model.decoder import open_decoder
from hf_prune.records import HealingPlan
from hf_prune.stages.heal.lessons import Lessons, write_lessons
from hf_prune.stages.heal.student import Student
from hf_prune.stages.heal.text import HealingText
from hf_prune.stages.heal.training import Session, Trained, load_trained, train
from tests.support.plain import some_tokens

CPU = torch.device("cpu")
LORA = HealingPlan(
    method="lora",
    reason=None,
    objective="text",
    targets="all",
    rank=4,
    learning_rate=1e-2,
    num_tokens=12 * 16 * 24,
    sequence_length=24,
    batch=4,
    micro_batch=2,
)
PARTIAL = replace(LORA, method="partial", targets="", rank=0, last_layers=2)
REPLACE = replace(LORA, method="replace", targets="", rank=0, objective="states", boundary_loss=1.0)


def some_text(windows: int = 16, length: int = 24) -> HealingText:
    ids = some_tokens(windows, length)
    return HealingText(ids, torch.ones_like(ids, dtype=torch.bool))


def lessons_of(model: Path, text: HealingText, path: Path, boundaries: tuple[int, ...] = ()) -> Lessons:
    """What a tiny model says of a text."""
    lessons = Lessons(
        path=str(path),
        num_windows=len(text.ids),
        length=text.ids.shape[1],
        top=16,
        boundaries=boundaries,
        hidden_size=32,
    )
    write_lessons(open_decoder(model, CPU), text.ids, lessons, silent)
    return lessons


def train_on_some_text(
    student: Student,
    plan: HealingPlan,
    folder: Path,
    lessons: Lessons | None = None,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> Trained:
    """Train a student on sixteen windows, watched on four."""
    session = Session(plan=plan, checkpoint="", folder=str(folder), lessons=lessons, seed=seed, name="tiny")
    train(student, some_text(), some_text(4), session, bf16=False, progress=progress)
    return load_trained(folder)
