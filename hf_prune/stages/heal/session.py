"""One training from its files to its verdict, by one process or by several together."""

import gc
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from hf_prune.machine.progress import Progress
from hf_prune.model.anatomy import describe, torch_dtype
from hf_prune.model.decoder import StreamedDecoder, load_with_info, logits_by_sequence
from hf_prune.model.skeleton import build_skeleton
from hf_prune.records import DepthLoss, HealingPlan
from hf_prune.stages.heal.depths import Depths
from hf_prune.stages.heal.folding import Folded, fold, put_in_place
from hf_prune.stages.heal.lessons import Lessons
from hf_prune.stages.heal.material import TEXT_FILE
from hf_prune.stages.heal.objective import text_loss
from hf_prune.stages.heal.student import load_student
from hf_prune.stages.heal.text import HealingText, part_to_watch, read_text
from hf_prune.stages.heal.training import Trained, train

Logits = Callable[[Tensor, int], Iterator[Tensor]]  # of token ids and of so many first layers


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Everything that a process needs to know to take part."""

    plan: HealingPlan
    checkpoint: str  # the folder of the shorter model
    carriers: tuple[int, ...]  # the layers before the gaps, numbered as in the shorter model
    new_layers: tuple[int, ...]  # that growing added, likewise
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

    depths: tuple[DepthLoss, ...]  # on the watched text; of a model that is not sorted, of the whole alone
    logits: Tensor  # of the trained model on some tokens, float32
    folded: Folded

    @property
    def loss_before(self) -> float | None:
        """The mean over depths, nats per token; None: no number."""
        return _mean([depth.before for depth in self.depths])

    @property
    def loss_after(self) -> float | None:
        """The same after the training."""
        return _mean([depth.after for depth in self.depths])

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
    student = load_student(skeleton, session.plan, session.carriers, device, session.new_layers)
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
    layers are run one by one, so that this fits where the training did; `partial` and `sorted` change what
    is outside them too, and their model is loaded whole, as it was to be trained. The loss of a sorted model
    is the mean over its depths.

    Args:
        session: what was trained.
        trained: what came of it.
        watched: text that was not trained on.
        tokens: to compute logits of, (sequences, length).
        decoder: of the checkpoint that was trained.
    """
    folded = fold(decoder.skeleton, trained.weights, session.plan.adapter_scale)
    depths = session.plan.depths or (decoder.num_layers,)
    whole = _whole_model(decoder, folded) if session.plan.method in ("partial", "sorted") else None

    def before(ids: Tensor, depth: int) -> Iterator[Tensor]:
        return logits_by_sequence(decoder, ids, range(depth))

    def after(ids: Tensor, depth: int) -> Iterator[Tensor]:
        return whole(ids, depth) if whole else logits_by_sequence(decoder, ids, range(depth), folded)

    losses = tuple(
        DepthLoss(layers=depth, before=_loss(before, watched, depth), after=_loss(after, watched, depth))
        for depth in depths
    )
    return Verdict(
        depths=losses,
        logits=torch.cat(list(after(tokens, decoder.num_layers))),
        folded=folded,
    )


def _whole_model(decoder: StreamedDecoder, folded: Folded) -> Logits:
    """The same by the whole model with its new tensors."""
    model, _ = load_with_info(decoder.skeleton.index.folder, decoder)
    put_in_place(model, decoder.skeleton, folded)
    depths = Depths(model.get_submodule(decoder.skeleton.layer_path))

    @torch.inference_mode()
    def logits(ids: Tensor, depth: int) -> Iterator[Tensor]:
        with depths.only(depth):
            for window in ids.split(1):
                yield model(input_ids=window.to(decoder.device), use_cache=False).logits.float()

    return logits


def _loss(logits: Logits, watched: HealingText, depth: int) -> float | None:
    """Nats per token, the mean over windows; None where that is no number."""
    return _mean(
        [
            text_loss(window, ids[None].to(window.device), wanted[None].to(window.device)).item()
            for window, ids, wanted in zip(
                logits(watched.ids, depth), watched.ids, watched.wanted, strict=True
            )
        ]
    )


def _mean(losses: Sequence[float | None]) -> float | None:
    numbers = [loss for loss in losses if loss is not None and math.isfinite(loss)]
    return statistics.fmean(numbers) if len(numbers) == len(losses) else None
