"""The heal stage: it plans, trains, judges and writes, and keeps each step once it is finished.

A run that was killed resumes after the last of these, and a training from the last state that it saved.
"""

import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from hf_prune.machine.disk import check_room, whole_folder
from hf_prune.machine.environment import this_machine
from hf_prune.machine.processes import Ranks
from hf_prune.machine.progress import silent
from hf_prune.model.anatomy import describe, torch_dtype
from hf_prune.model.decoder import StreamedDecoder
from hf_prune.model.proof import proof_tokens, prove
from hf_prune.records import DECODER, Block, Healing, HealingPlan, Plan, ProvedHealing
from hf_prune.stages.grow.positions import new_layers, number_after
from hf_prune.stages.heal.material import healing_text, lessons_for, text_record
from hf_prune.stages.heal.plan import HEALED, approximate_tokens, may_train, plan_healing
from hf_prune.stages.heal.text import HealingText, split_watched
from hf_prune.stages.work import Work

if TYPE_CHECKING:
    from hf_prune.stages.heal.session import Verdict
    from hf_prune.stages.heal.training import Session, Trained


@dataclass(frozen=True, kw_only=True)
class HealStage:
    """What the steps of the heal stage share."""

    work: Work
    plan: Plan
    start: Path  # the folder of the checkpoint to train: the original's, cut, bridged or grown
    after: tuple[int, ...]  # the layers of the shorter model that a new one follows
    report_to: str  # an experiment tracker that transformers knows, or "none"
    name: str  # of the result, for the tracker

    @property
    def folder(self) -> Path:
        """The folder of what a killed run resumes from."""
        return self.work.folder.checkpoints / f"healing-{self.work.inputs}"

    @property
    def target(self) -> Path:
        """The folder of the healed checkpoint."""
        return self.work.folder.checkpoints / HEALED

    @cached_property
    def decoder(self) -> StreamedDecoder:
        """The checkpoint to train, ready to be run layer by layer."""
        return self.work.original.open(self.start)

    @cached_property
    def tokens(self) -> Tensor:
        """The tokens that the healed checkpoint is proved on."""
        return proof_tokens(self.work.original.calibration.ids)

    @property
    def gaps(self) -> list[Block]:
        """The removed blocks that have a layer before them."""
        return [block for block in self.plan.blocks if block.start > 0]

    @property
    def carriers(self) -> tuple[int, ...]:
        """The layers before the gaps, numbered as in the checkpoint to train."""
        before = (self.plan.kept.index(block.start - 1) for block in self.gaps)
        return tuple(number_after(layer, self.after) for layer in before)


def heal(stage: HealStage) -> ProvedHealing:
    """Train the shorter model, if the recipe asks for it or it fits, and keep it if it is better."""
    work = stage.work
    plan = work.folder.stage("healing-plan", HealingPlan, work.inputs, lambda: _decide(stage))
    if plan.reason:
        work.reporter.tell(f"healing: {plan.reason}")
    if plan.method == "none":
        return ProvedHealing(healing=Healing(plan=plan), checkpoint=None, proof=None)
    healed = work.folder.stage(
        "heal",
        ProvedHealing,
        work.inputs,
        lambda: _heal(stage, plan),
        lambda record: stage.target if record.checkpoint else None,
    )
    if healed.healing.reason:
        work.reporter.tell(f"healing: {healed.healing.reason}")
    return healed


def follow(ranks: Ranks) -> None:
    """Take part in every training that the first process begins, until it sends None."""
    while (session := ranks.broadcast(None)) is not None:
        from hf_prune.stages.heal.session import train_together

        train_together(session, silent)


def _decide(stage: HealStage) -> HealingPlan:
    """Decide what to train; the text is only prepared if something may be."""
    work, original = stage.work, stage.work.original
    recipe, device, anatomy = original.recipe, original.device, original.anatomy
    machine = this_machine(
        device, torch_dtype(anatomy.dtype, device), anatomy.hidden_size, work.folder.path, work.ranks.count
    )
    if anatomy.kind == DECODER and may_train(recipe, device.type):
        tokens = split_watched(healing_text(original, stage.folder, work.reporter.progress))[0].ids.numel()
    else:
        tokens = approximate_tokens(original.material.healing_text)
    fitted = replace(recipe, sequence_length=original.window_length)
    shorter = describe(stage.decoder.skeleton)
    return plan_healing(fitted, anatomy, shorter, len(stage.gaps), tokens, machine, len(stage.after))


def _heal(stage: HealStage, plan: HealingPlan) -> ProvedHealing:
    from hf_prune.stages.heal.session import judge, train_together  # peft takes seconds to import
    from hf_prune.stages.heal.training import load_trained

    began, original, progress = time.monotonic(), stage.work.original, stage.work.reporter.progress
    text, watched = split_watched(healing_text(original, stage.folder, progress))
    session = _session(stage, plan, text)
    train_together(stage.work.ranks.broadcast(session), progress)
    trained = load_trained(stage.folder)
    verdict = judge(session, trained, watched, stage.tokens, stage.decoder)
    healing = Healing(
        plan=plan,
        text=text_record(text, original),
        watched=text_record(watched, original),
        trained_parameters=sum(value.numel() for value in trained.weights.values()),
        tensors=len(verdict.folded),
        curve=trained.curve,
        depths=verdict.depths if plan.depths else (),
        loss_before=verdict.loss_before,
        loss_after=verdict.loss_after,
        best_step=trained.best_step,
        kept=verdict.better,
        reason=_problem(trained, verdict),
        seconds=round(time.monotonic() - began, 1),
    )
    if not verdict.better:
        return ProvedHealing(healing=healing, checkpoint=None, proof=None)
    return _write(stage, healing, verdict)


def _session(stage: HealStage, plan: HealingPlan, text: HealingText) -> "Session":
    from hf_prune.stages.heal.training import Session

    original, progress = stage.work.original, stage.work.reporter.progress
    boundaries = tuple(block.end for block in stage.gaps)
    return Session(
        plan=plan,
        checkpoint=str(stage.start),
        carriers=stage.carriers,
        new_layers=new_layers(stage.after),
        folder=str(stage.folder),
        lessons=lessons_for(original, plan, text, boundaries, stage.folder, progress),
        device=original.device.type,
        seed=original.recipe.seed,
        trust_remote_code=original.recipe.trust_remote_code,
        report_to=stage.report_to,
        name=stage.name,
    )


def _write(stage: HealStage, healing: Healing, verdict: "Verdict") -> ProvedHealing:
    from hf_prune.stages.heal.folding import write_healed

    skeleton, progress = stage.decoder.skeleton, stage.work.reporter.progress
    new = [name for name in verdict.folded if name not in skeleton.index.tensors]  # an untied head
    needed = skeleton.index.size_bytes + sum(verdict.folded[name].nbytes for name in new)
    check_room(stage.target.parent, needed, f"writing the {HEALED} checkpoint")
    with whole_folder(stage.target) as partial:
        checkpoint = write_healed(skeleton, partial, verdict.folded, progress)
    proof = prove(stage.target, HEALED, stage.tokens, verdict.logits, stage.decoder, progress)
    return ProvedHealing(healing=healing, checkpoint=checkpoint, proof=proof)


def _problem(trained: "Trained", verdict: "Verdict") -> str | None:
    """What went wrong; None where nothing did."""
    diverged = None
    if trained.diverged_at is not None:
        diverged = f"the training diverged: its loss was not finite after step {trained.diverged_at}"
    if verdict.better:
        return diverged and f"{diverged}; the weights of step {trained.best_step} were kept"
    before, after = (
        "not finite" if loss is None else f"{loss:.4f}" for loss in (verdict.loss_before, verdict.loss_after)
    )
    why = diverged or f"the loss on the watched text was {before} before and {after} after"
    return f"the trained weights were not kept, so the model is as before: {why}"
