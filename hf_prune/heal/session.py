"""One training from its files to its verdict, by one process or by several together."""

import math
import statistics
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from hf_prune.anatomy import describe, torch_dtype
from hf_prune.heal.folding import Folded, fold
from hf_prune.heal.lessons import Lessons
from hf_prune.heal.material import TEXT_FILE
from hf_prune.heal.student import Student, load_student
from hf_prune.heal.text import HealingText, part_to_watch, read_text
from hf_prune.heal.training import Trained, train
from hf_prune.progress import Progress
from hf_prune.records import HealingPlan
from hf_prune.skeleton import build_skeleton


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Everything that a process needs to know to take part."""

    plan: HealingPlan
    checkpoint: str  # the folder of the shorter model
    carriers: tuple[int, ...]  # the layers before the gaps, numbered as in the shorter model
    folder: str  # of the text, and of the states that are saved on the way
    lessons: Lessons | None
    device: str  # its type
    seed: int
    trust_remote_code: bool
    report_to: str
    name: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What was trained, beside what was there before; both with all weights in full precision."""

    loss_before: float | None  # nats per token on the watched text; None: no number
    loss_after: float | None
    logits: Tensor  # of the trained model on some tokens, float32
    folded: Folded

    @property
    def better(self) -> bool:
        """Whether what was trained is to be kept."""
        before, after = self.loss_before, self.loss_after
        return before is not None and after is not None and after < before


def train_together(session: Session, progress: Progress) -> None:
    """Train; every process that takes part calls this with the same session."""
    device = torch.device(session.device)
    if device.type == "cuda":
        device = torch.device("cuda", torch.cuda.current_device())
    skeleton = build_skeleton(Path(session.checkpoint), trust_remote_code=session.trust_remote_code)
    torch.manual_seed(session.seed)  # adapters begin at random
    student = load_student(skeleton, session.plan, session.carriers, device)
    folder = Path(session.folder)
    learnt, watched = part_to_watch(read_text(folder / TEXT_FILE))
    train(
        student,
        learnt,
        watched,
        session.lessons,
        folder,
        seed=session.seed,
        bf16=torch_dtype(describe(skeleton).dtype, device) != torch.float32,
        report_to=session.report_to,
        name=session.name,
        progress=progress,
    )


def judge(
    session: Session, trained: Trained, watched: HealingText, tokens: Tensor, device: torch.device
) -> Verdict:
    """Compare what was trained with the beginning, on weights as they are published: never in 4 bits.

    Args:
        session: what was trained.
        trained: what came of it.
        watched: text that was not trained on.
        tokens: to compute logits of, (sequences, length).
        device: where.
    """
    skeleton = build_skeleton(Path(session.checkpoint), trust_remote_code=session.trust_remote_code)
    plain = replace(session.plan, method="lora") if session.plan.method == "qlora" else session.plan
    student = load_student(skeleton, plain, session.carriers, device).eval()
    device = next(student.parameters()).device  # the CPU, for a model that was shared out to be trained
    before = _loss(student, watched, device)
    weights = {f"model.{name}": value for name, value in trained.weights.items()}
    student.load_state_dict(weights)
    with torch.inference_mode():
        logits = student.model(input_ids=tokens.to(device), use_cache=False).logits.float()
    return Verdict(
        loss_before=before,
        loss_after=_loss(student, watched, device),
        logits=logits,
        folded=fold(skeleton, trained.weights),
    )


@torch.inference_mode()
def _loss(student: Student, watched: HealingText, device: torch.device) -> float | None:
    """Nats per token, the mean over windows."""
    losses = [
        student(ids[None].to(device), wanted[None].to(device))["loss"].item()
        for ids, wanted in zip(watched.ids, watched.wanted, strict=True)
    ]
    mean = statistics.fmean(losses)
    return mean if math.isfinite(mean) else None
