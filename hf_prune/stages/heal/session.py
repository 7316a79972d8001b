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
from hf_prune.model.weights import TensorsOnDemand
from hf_prune.records import DepthLoss
from hf_prune.stages.heal.depths import Depths
from hf_prune.stages.heal.folding import fold, put_in_place
from hf_prune.stages.heal.material import TEXT_FILE
from hf_prune.stages.heal.objective import text_loss
from hf_prune.stages.heal.student import load_student
from hf_prune.stages.heal.text import HealingText, read_text, split_watched
from hf_prune.stages.heal.training import Session, Trained, train

Logits = Callable[[Tensor, int], Iterator[Tensor]]  # of token ids, by the first so many layers


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The trained weights compared with those before, both as they are published."""

    depths: tuple[DepthLoss, ...]  # on the watched text; for a model that is not sorted, its full depth
    logits: Tensor  # of the trained model on some tokens, float32
    folded: TensorsOnDemand

    @property
    def loss_before(self) -> float | None:
        """The mean over depths, nats per token; None: not finite."""
        return _mean([depth.before for depth in self.depths])

    @property
    def loss_after(self) -> float | None:
        """The mean over depths after the training."""
        return _mean([depth.after for depth in self.depths])

    @property
    def better(self) -> bool:
        """Whether the trained weights are to be kept."""
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
    learnt, watched = split_watched(read_text(Path(session.folder) / TEXT_FILE))
    bf16 = torch_dtype(describe(skeleton).dtype, device) != torch.float32
    train(student, learnt, watched, session, bf16=bf16, progress=progress)
    del student
    gc.collect()  # the Trainer and its parts hold each other
    if device.type == "cuda":
        torch.cuda.empty_cache()


def judge(
    session: Session, trained: Trained, watched: HealingText, tokens: Tensor, decoder: StreamedDecoder
) -> Verdict:
    """Compare the trained weights with those before, in the precision in which they are published.

    The layers are run one by one, so this fits wherever the training did. `partial` and `sorted` also change
    what is outside the layers: their model is loaded whole, as for the training.

    Args:
        tokens: for the verdict's logits, (sequences, length).
        decoder: of the checkpoint before the training.
    """
    folded = fold(decoder.skeleton, trained.weights, session.plan.adapter_scale)
    depths = session.plan.depths or (decoder.num_layers,)
    before, after = _layer_by_layer(decoder), _layer_by_layer(decoder, folded)
    if session.plan.method in ("partial", "sorted"):
        after = _whole_model(decoder, folded)
    losses = tuple(
        DepthLoss(layers=depth, before=_loss(before, watched, depth), after=_loss(after, watched, depth))
        for depth in depths
    )
    return Verdict(depths=losses, logits=torch.cat(list(after(tokens, decoder.num_layers))), folded=folded)


def _layer_by_layer(decoder: StreamedDecoder, folded: TensorsOnDemand | None = None) -> Logits:
    return lambda ids, depth: logits_by_sequence(decoder, ids, range(depth), folded)


def _whole_model(decoder: StreamedDecoder, folded: TensorsOnDemand) -> Logits:
    """Load the whole model with its new tensors, to compute logits window by window."""
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
    """Nats per token, the mean over windows; None where that is not finite."""
    losses = []
    for predicted, *window in zip(logits(watched.ids, depth), watched.ids, watched.loss_mask, strict=True):
        ids, loss_mask = (each[None].to(predicted.device) for each in window)
        losses.append(text_loss(predicted, ids, loss_mask).item())
    return _mean(losses)


def _mean(losses: Sequence[float | None]) -> float | None:
    finite = [loss for loss in losses if loss is not None and math.isfinite(loss)]
    return statistics.fmean(finite) if len(finite) == len(losses) else None
