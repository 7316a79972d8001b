"""The training itself, by transformers' Trainer; one that was killed goes on where it was."""

import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer import TRAINER_STATE_NAME

from hf_prune.heal.lessons import Lessons
from hf_prune.heal.student import Student
from hf_prune.heal.text import HealingText
from hf_prune.progress import Progress
from hf_prune.records import HealingPlan, HealingStep

LOOKS = 20  # how often the watched text is looked at, and the state saved
LEAST_SHARE = {"replace": 0.25}  # of the learning rate, at the end: LLM-Streamline's 2e-4 to 5e-5
WARM_UP = {"replace": 0.01}  # of the steps; elsewhere a twentieth, at most Gromov's hundred
MOST_WARM_UP = 100
CLIP = {"replace": 5.0}
WEIGHT_DECAY = {"replace": 1e-3}


class _Lesson(Dataset[dict[str, Tensor]]):
    """Windows of text with what the original says of them."""

    def __init__(self, text: HealingText, lessons: Lessons | None) -> None:
        self._text = text
        self._lessons = lessons

    def __len__(self) -> int:
        return len(self._text.ids)

    def __getitem__(self, window: int) -> dict[str, Tensor]:
        said = self._lessons.read(window) if self._lessons else {}
        return {"ids": self._text.ids[window], "wanted": self._text.wanted[window], **said}


class _Watch(TrainerCallback):
    """Moves the progress along, and ends a training whose loss is no number any more."""

    def __init__(self, steps: Iterator[int]) -> None:
        self._steps = steps
        self.diverged_at: int | None = None

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """One step more."""
        next(self._steps, None)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Stop where a loss is not finite."""
        losses = [value for name, value in (logs or {}).items() if name in ("loss", "eval_loss")]
        if not all(map(math.isfinite, losses)):
            self.diverged_at = state.global_step
            control.should_training_stop = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What a training leaves behind."""

    weights: dict[str, Tensor]  # what was trained, at its best step, by name in the model; float32, CPU
    curve: tuple[HealingStep, ...]
    best_step: int | None
    diverged_at: int | None  # the step after which a loss was no number


def train(
    student: Student,
    text: HealingText,
    watched: HealingText,
    lessons: Lessons | None,
    folder: Path,
    *,
    seed: int,
    bf16: bool,
    report_to: str,
    name: str,
    progress: Progress,
) -> Trained:
    """Train what is trainable in a student; the best step on the watched text is kept.

    Args:
        student: the model.
        text: to train on.
        watched: to judge by.
        lessons: what the original says of the windows of `text`; None where the text alone is learnt.
        folder: for the states that are saved on the way; a training that was killed goes on from them.
        seed: of the order of the windows.
        bf16: whether to compute in bfloat16 (what is trained is kept in float32).
        report_to: an experiment tracker that transformers knows: "trackio", "tensorboard", ...; "none".
        name: of the run, for the tracker.
        progress: shows the steps going by.
    """
    resumed = _last_whole_state(folder)
    settings = _settings(student.plan, len(text.ids))
    done, steps = (_steps_done(resumed) if resumed else 0), settings["max_steps"]
    watch = _Watch(progress(range(done, steps), "healing", steps - done, "step"))
    arguments = TrainingArguments(
        output_dir=str(folder),
        **settings,
        bf16=bf16,
        use_cpu=next(student.parameters()).device.type == "cpu",
        eval_on_start=resumed is None,
        seed=seed,
        data_seed=seed,
        report_to=report_to,
        run_name=name,
        **MANNER,
    )
    trainer = Trainer(
        model=student,
        args=arguments,
        train_dataset=_Lesson(text, lessons),
        eval_dataset=_Lesson(watched, None),
        callbacks=[watch],
    )
    trainer.remove_callback(PrinterCallback)  # stdout is for the result alone
    trainer.train(resume_from_checkpoint=resumed)
    return _result(trainer, watch)


def _settings(plan: HealingPlan, num_windows: int) -> dict[str, Any]:
    """What the Trainer is told of a plan."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    accumulated = max(1, plan.batch // (plan.micro_batch * processes))
    steps = max(1, plan.num_tokens // plan.sequence_length // (plan.micro_batch * processes * accumulated))
    warm_up = min(MOST_WARM_UP, steps * WARM_UP.get(plan.method, 0.05))
    least = LEAST_SHARE.get(plan.method)
    look_every = max(1, steps // LOOKS)
    return {
        "max_steps": steps,
        "per_device_train_batch_size": min(plan.micro_batch, num_windows),
        "per_device_eval_batch_size": plan.micro_batch,
        "gradient_accumulation_steps": accumulated,
        "learning_rate": plan.learning_rate,
        "lr_scheduler_type": "cosine_with_min_lr" if least else "cosine",
        "lr_scheduler_kwargs": {"min_lr_rate": least} if least else {},
        "warmup_steps": math.ceil(warm_up),
        "weight_decay": WEIGHT_DECAY.get(plan.method, 0.0),
        "max_grad_norm": CLIP.get(plan.method, 1.0),
        "logging_steps": look_every,
        "eval_steps": look_every,
        "save_steps": look_every,
    }


MANNER: dict[str, Any] = {
    "logging_nan_inf_filter": False,  # a loss that is no number has to be seen
    "eval_strategy": "steps",
    "save_strategy": "steps",
    "save_total_limit": 1,  # beside the best
    "load_best_model_at_end": True,
    "metric_for_best_model": "eval_loss",
    "greater_is_better": False,
    "remove_unused_columns": False,
    "label_names": ["wanted"],
    "prediction_loss_only": True,
    "dataloader_pin_memory": False,
    "ddp_find_unused_parameters": False,
    "disable_tqdm": True,
}


def _last_whole_state(folder: Path) -> str | None:
    """The newest state that was written to its end: the Trainer writes this file last."""
    numbered = {path: path.name.rpartition("-")[2] for path in folder.glob("checkpoint-*")}
    for path in sorted(numbered, key=lambda path: int(numbered[path]), reverse=True):
        try:
            json.loads((path / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        return str(path)
    return None


def _steps_done(state: str) -> int:
    return int(Path(state).name.rpartition("-")[2])


def _result(trainer: Trainer, watch: _Watch) -> Trained:
    points: dict[int, dict[str, float]] = {}
    for entry in trainer.state.log_history:
        points.setdefault(int(entry["step"]), {}).update(
            (name, value) for name, value in entry.items() if name in ("loss", "eval_loss")
        )
    curve = tuple(
        HealingStep(step=step, loss=_finite(point.get("loss")), watched_loss=_finite(point.get("eval_loss")))
        for step, point in sorted(points.items())
        if point
    )
    weights = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    return Trained(
        weights={name.removeprefix("model."): value.float().cpu() for name, value in weights.items()},
        curve=curve,
        best_step=trainer.state.best_global_step,
        diverged_at=watch.diverged_at,
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
