"""One training from its files to its verdict, by one process or by several together."""

import gc
import math
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from hf_prune.anatomy import describe, torch_dtype
from hf_prune.decoder import StreamedDecoder, load_whole, logits_by_sequence
from hf_prune.heal.folding import Folded, fold, put_in_place
from hf_prune.heal.lessons import Lessons
from hf_prune.heal.material import TEXT_FILE
from hf_prune.heal.objective import text_loss
from hf_prune.heal.student import load_student
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
    del student
    gc.collect()  # the Trainer and its parts hold each other
    if device.type == "cuda":
        torch.cuda.empty_cache()


def judge(
    session: Session, trained: Trained, watched: HealingText, tokens: Tensor, decoder: StreamedDecoder
) -> Verdict:
    """Compare what was trained with the beginning, on weights as they are published.

    That is never in 4 bits, whatever was trained beside them, and with what storing them rounds off. The
    layers are run one by one, so that this fits where the training did; `partial` changes what is outside
    them too, and its model is loaded whole, as it was to be trained.

    Args:
        session: what was trained.
        trained: what came of it.
        watched: text that was not trained on.
        tokens: to compute logits of, (sequences, length).
        decoder: of the checkpoint that was trained.
    """
    folded = fold(decoder.skeleton, trained.weights, session.plan.adapter_scale)
    layers = range(decoder.num_layers)
    before = _loss(logits_by_sequence(decoder, watched.ids, layers), watched)
    compute = _whole_model(decoder, folded) if session.plan.method == "partial" else None

    def logits(ids: Tensor) -> Iterator[Tensor]:
        return compute(ids) if compute else logits_by_sequence(decoder, ids, layers, folded)

    return Verdict(
        loss_before=before,
        loss_after=_loss(logits(watched.ids), watched),
        logits=torch.cat(list(logits(tokens))),
        folded=folded,
    )


def _whole_model(decoder: StreamedDecoder, folded: Folded) -> Callable[[Tensor], Iterator[Tensor]]:
    """The same by the whole model with its new tensors."""
    model, _ = load_whole(decoder.skeleton.index.folder, decoder)
    put_in_place(model, decoder.skeleton, folded)

    @torch.inference_mode()
    def logits(ids: Tensor) -> Iterator[Tensor]:
        for window in ids.split(1):
            yield model(input_ids=window.to(decoder.device), use_cache=False).logits.float()

    return logits


def _loss(logits: Iterator[Tensor], watched: HealingText) -> float | None:
    """Nats per token, the mean over windows; None where that is no number."""
    losses = [
        text_loss(window, ids[None].to(window.device), wanted[None].to(window.device)).item()
        for window, ids, wanted in zip(logits, watched.ids, watched.wanted, strict=True)
    ]
    mean = statistics.fmean(losses)
    return mean if math.isfinite(mean) else None
