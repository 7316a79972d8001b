"""The training itself, by transformers' Trainer; one that was killed resumes from its last state."""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerState, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from transformers.utils import SAFE_WEIGHTS_NAME

from hf_prune.machine.progress import Progress
from hf_prune.records import HealingPlan, HealingStep
from hf_prune.stages.heal.lessons import Lessons
from hf_prune.stages.heal.student import Student, is_sharded
from hf_prune.stages.heal.text import HealingText

EVALUATIONS = 10  # how often the loss on the watched text is measured, and the state saved
FINAL_RATE = {"replace": 0.25}  # share of the learning rate at the end: LLM-Streamline's 2e-4 to 5e-5
WARM_UP = {"replace": 0.01}  # share of the steps; elsewhere a twentieth, at most Gromov's hundred
MOST_WARM_UP = 100  # steps
CLIP = {"replace": 5.0}
WEIGHT_DECAY = {"replace": 1e-3}
ARGUMENTS: dict[str, Any] = {  # of the Trainer, the same for every plan
    "logging_nan_inf_filter": False,  # a loss that is not finite has to be seen
    "eval_strategy": "steps",
    "save_strategy": "steps",
    "save_total_limit": 2,  # the best and the last
    "metric_for_best_model": "eval_loss",
    "greater_is_better": False,
    "remove_unused_columns": False,
    "label_names": ["loss_mask"],
    "prediction_loss_only": True,
    "dataloader_pin_memory": False,
    "disable_tqdm": True,
}


class _TaughtWindows(Dataset[dict[str, Tensor]]):
    """Windows of text, each with what the original says about it."""

    def __init__(self, text: HealingText, lessons: Lessons | None) -> None:
        self._text, self._lessons = text, lessons

    def __len__(self) -> int:
        return len(self._text.ids)

    def __getitem__(self, window: int) -> dict[str, Tensor]:
        lesson = self._lessons.read(window) if self._lessons else {}
        return {"ids": self._text.ids[window], "loss_mask": self._text.loss_mask[window], **lesson}


class _Watch(TrainerCallback):
    """Shows the progress, and ends a training whose loss is no longer finite."""

    def __init__(self, steps: Iterator[int]) -> None:
        self._steps = steps

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Show one more step; the step that a training ends with is always saved."""
        next(self._steps, None)
        control.should_save |= control.should_training_stop

    def on_log(self, args: Any, state: Any, control: Any, **passed: Any) -> None:
        if _diverged(passed["logs"]):
            control.should_training_stop = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Everything that a process needs to take part in a training."""

    plan: HealingPlan
    checkpoint: str  # the folder of the shorter model
    folder: str  # of the text, and of the states saved on the way, from which a killed training resumes
    carriers: tuple[int, ...] = ()  # the layers before the gaps, numbered as in the shorter model
    new_layers: tuple[int, ...] = ()  # the layers that growing added, numbered likewise
    lessons: Lessons | None = None  # what the original says about the windows; None: only text is learnt
    device: str = "cpu"  # its type
    seed: int = 0
    trust_remote_code: bool = False
    report_to: str = "none"  # an experiment tracker that transformers knows: "trackio", "tensorboard", ...
    name: str = ""  # of the result, for the tracker


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What a training leaves behind."""

    weights: dict[str, Tensor]  # the trained parameters at the best step, by name; float32, CPU
    curve: tuple[HealingStep, ...]
    best_step: int | None
    diverged_at: int | None  # the step after which a loss was not finite


def train(
    student: Student,
    text: HealingText,
    watched: HealingText,
    session: Session,
    *,
    bf16: bool,
    progress: Progress,
) -> None:
    """Train what is trainable in a student, and leave it in the session's folder for `load_trained`.

    Args:
        watched: windows whose loss decides which step is the best.
        bf16: whether to compute in bfloat16; trained parameters stay in float32.
    """
    settings = _settings(session.plan, len(text.ids))
    folder, state = _last_whole_state(Path(session.folder)) or (None, TrainerState())
    done, steps = state.global_step, settings["max_steps"]
    if folder and (done >= steps or _diverged_at(state) is not None):
        return  # the Trainer would take one step more
    watch = _Watch(progress(range(done, steps), "healing", steps - done, "step"))
    arguments = TrainingArguments(
        output_dir=session.folder,
        **settings,
        bf16=bf16,
        use_cpu=next(student.parameters()).device.type == "cpu" and not is_sharded(),
        eval_on_start=folder is None,
        seed=session.seed,
        data_seed=session.seed,
        report_to=session.report_to,
        run_name=session.name,
        **ARGUMENTS,
    )
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1  # one process uses several GPUs slowly: docs/distributed.md
    trainer = Trainer(
        model=student,
        args=arguments,
        train_dataset=_TaughtWindows(text, session.lessons),
        eval_dataset=_TaughtWindows(watched, None),
        callbacks=[watch],
    )
    trainer.remove_callback(PrinterCallback)  # stdout is for the result alone
    trainer.train(resume_from_checkpoint=str(folder) if folder else None)


def _settings(plan: HealingPlan, num_windows: int) -> dict[str, Any]:
    """The Trainer's arguments that depend on the plan."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    share = max(1, plan.batch // processes)  # a resumed run may have more or fewer processes than planned
    at_once = math.gcd(share, plan.micro_batch)
    steps = max(1, plan.num_tokens // plan.sequence_length // (share * processes))
    warm_up = min(MOST_WARM_UP, steps * WARM_UP.get(plan.method, 0.05))
    final_rate = FINAL_RATE.get(plan.method)
    interval = max(1, steps // EVALUATIONS)
    return {
        "max_steps": steps,
        "per_device_train_batch_size": min(at_once, num_windows),
        "per_device_eval_batch_size": 1,  # so that a window counts once, however many processes share them
        "gradient_accumulation_steps": share // at_once,
        "learning_rate": plan.learning_rate,
        "lr_scheduler_type": "cosine_with_min_lr" if final_rate else "cosine",
        "lr_scheduler_kwargs": {"min_lr_rate": final_rate} if final_rate else {},
        "warmup_steps": math.ceil(warm_up),
        "weight_decay": WEIGHT_DECAY.get(plan.method, 0.0),
        "ddp_find_unused_parameters": plan.sample_depths,  # layers behind the depth that was drawn
        "max_grad_norm": CLIP.get(plan.method, 1.0),
        "logging_steps": interval,
        "eval_steps": interval,
        "save_steps": interval,
    }


def _last_whole_state(folder: Path) -> tuple[Path, TrainerState] | None:
    """The newest complete state and its folder; the Trainer writes the file that is read here last."""
    folders = folder.glob("checkpoint-*")
    for path in sorted(folders, key=lambda state: int(state.name.rpartition("-")[2]), reverse=True):
        try:
            return path, TrainerState.load_from_json(str(path / TRAINER_STATE_NAME))
        except (OSError, ValueError):
            continue
    return None


def _diverged_at(state: TrainerState) -> int | None:
    """The step after which a loss was not finite."""
    return next((int(entry["step"]) for entry in state.log_history if _diverged(entry)), None)


def _diverged(logs: dict[str, float]) -> bool:
    return not all(math.isfinite(logs[name]) for name in ("loss", "eval_loss") if name in logs)


def load_trained(folder: Path) -> Trained:
    """Read what a finished training left in its folder."""
    last = _last_whole_state(folder)
    assert last is not None
    newest, state = last
    points: dict[int, dict[str, float]] = {}
    for entry in state.log_history:
        points.setdefault(int(entry["step"]), {}).update(entry)
    curve = tuple(
        HealingStep(step=step, loss=_finite(point.get("loss")), watched_loss=_finite(point.get("eval_loss")))
        for step, point in sorted(points.items())
    )
    best = state.best_global_step
    weights = load_file((folder / f"checkpoint-{best}" if best else newest) / SAFE_WEIGHTS_NAME)
    return Trained(
        weights={name.removeprefix("model."): value.float() for name, value in weights.items()},
        curve=curve,
        best_step=best,
        diverged_at=_diverged_at(state),
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
