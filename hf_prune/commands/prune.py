"""The order of the stages: source, measure, choose, cut, prove, bridge, evaluate, card, publish.

Each stage reads records and files and leaves a record; this module hands them on and decides nothing
about models. A stage that was finished with the same inputs is not done again.
"""

import shutil
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch

from hf_prune import hub
from hf_prune.errors import NothingGained, UnsupportedModel
from hf_prune.machine.disk import check_room, whole_folder, write_whole
from hf_prune.machine.environment import check_tracker, describe_environment
from hf_prune.machine.processes import join
from hf_prune.machine.progress import Reporter
from hf_prune.model import anatomy
from hf_prune.model.proof import expected_logits, proof_tokens, prove
from hf_prune.model.skeleton import build_skeleton
from hf_prune.recipe.files import built_in_options
from hf_prune.recipe.formats import parse_formats
from hf_prune.recipe.recipe import Publication, Recipe
from hf_prune.recipe.words import command_line, without_folders
from hf_prune.records import (
    Anatomy,
    Bridge,
    Checkpoint,
    Citation,
    NamedLayers,
    Plan,
    Presentation,
    Proof,
    ProvedBridge,
    ProvedCut,
    Published,
    Removal,
    Selected,
    Similarity,
    Variant,
    fingerprint,
    to_json,
)
from hf_prune.records.blocks import ranges
from hf_prune.stages.bridge.choose import make_bridge
from hf_prune.stages.bridge.trials import trials_of
from hf_prune.stages.choose.selection import Selection
from hf_prune.stages.choose.target import layers_to_remove
from hf_prune.stages.cut.checkpoint import write_checkpoint
from hf_prune.stages.cut.shards import sharded
from hf_prune.stages.evaluate.stage import ask_tasks, evaluate
from hf_prune.stages.export.possible import check_exportable
from hf_prune.stages.export.stage import export
from hf_prune.stages.grow.stage import grow
from hf_prune.stages.grow.surgery import GROWN
from hf_prune.stages.heal.stage import HealStage, follow, heal
from hf_prune.stages.measure.measurements import Measurements, measure_together
from hf_prune.stages.original import Original, locate, open_original
from hf_prune.stages.publish.folder import CARD, assemble, present, with_sections_of
from hf_prune.stages.publish.naming import result_name
from hf_prune.stages.publish.stage import check_publication, publish
from hf_prune.stages.run import SCHEMA_VERSION, Run
from hf_prune.stages.source.companions import has_chat_template
from hf_prune.stages.source.licence import cautions, fitting_name
from hf_prune.stages.texts.material import digests_of
from hf_prune.stages.work import RunFolder, Work


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run leaves behind."""

    run: Run
    folder: Path  # the run folder
    published: Published | None
    refused: tuple[str, ...] = ()  # in what the result is worse than was let through: nothing was published

    @property
    def model(self) -> Path:
        """The folder that holds the smaller model and its card."""
        return RunFolder(self.folder).model


def prune(
    recipe: Recipe,
    output: Path | None = None,
    *,
    fresh: bool = False,
    publication: Publication | None = None,
    max_memory: int | None = None,
    reporter: Reporter | None = None,
    command: str | None = None,
    report_to: str = "none",
    cited: Citation | None = None,
    presentation: Presentation | None = None,
) -> Outcome | None:
    """The whole pipeline, from a model's name to a smaller model with a card.

    Args:
        recipe: what to do.
        output: the run folder; None: a folder here named after the result.
        fresh: do everything again, whatever an earlier run left in `output`.
        publication: where to publish; None: not at all.
        max_memory: bytes that hidden states may take, beyond which they go to a file; None: half of what
            is free.
        reporter: is told what happens.
        command: how the command that makes this run again begins; None: `hf-prune MODEL`.
        report_to: an experiment tracker that transformers knows ("trackio", "tensorboard"), or "none".
        cited: the work whose recipe is followed, for the card.
        presentation: what the user puts into the card; it changes nothing that is computed.

    Returns:
        What the run left; None in the processes that torchrun started to help.

    Raises:
        HfPruneError: whatever went wrong, in one line.
    """
    began, started = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    reporter = reporter or Reporter()
    check_tracker(report_to)
    located = locate(recipe, reporter, exact=recipe.needs_sizes)
    check_exportable(parse_formats(recipe.formats), located.anatomy)
    ranks = join(located.device)
    removal = layers_to_remove(recipe, located.anatomy)
    terms = located.found.terms
    own_name = result_name(located.found.name, recipe, located.anatomy.num_layers, removal)
    name = fitting_name(terms, own_name)
    depths = recipe.depths is not None
    repo_id = check_publication(publication, name, terms, depths=depths) if ranks.leads else None
    for line in cautions(terms, own_name, publishing=repo_id is not None):
        reporter.tell(line)
    folder = RunFolder(output or Path(name))
    asked = None
    if ranks.leads:
        folder.claim(fingerprint(recipe), fresh=fresh)
        with_sections_of(folder.model / CARD, "")  # a fault in it shows now, not after the work
        asked = ask_tasks(recipe, located.material, folder, reporter)

    @cache
    def opened() -> Original:  # fetched when it is first asked for
        return open_original(located, folder.checkpoints, max_memory=max_memory, ranks=ranks)

    if ranks.count > 1:
        measure_together(opened(), hub.kept_scores(), ranks, reporter)
    if not ranks.leads:
        follow(ranks)
        return None
    digests = digests_of(recipe, located.material)
    inputs = fingerprint(recipe, located.found.identity, digests, version("hf-prune"))

    def make() -> Run:
        work = Work(opened(), folder, inputs, reporter, ranks, asked)
        run = _run_stages(work, removal, name, command, report_to)
        took = round(time.monotonic() - began, 1)
        run = replace(run, cited=cited, presentation=presentation, digests=digests)
        run = replace(run, started=started, seconds=took)
        assemble(run, folder, repo_id)
        return run

    run = folder.stage("run", Run, fingerprint(inputs, cited), make, lambda _: folder.model)
    if run.presentation != presentation:
        run = replace(run, presentation=presentation)
        present(run, folder.model, folder, repo_id)
    ranks.tell(None)
    shutil.rmtree(folder.checkpoints, ignore_errors=True)
    published, refused = None, run.refusals
    if repo_id is not None and publication is not None and not refused:
        run, published = publish(run, folder, repo_id, publication, reporter)
    return Outcome(run=run, folder=folder.path, published=published, refused=refused)


def _run_stages(work: Work, removal: Removal, name: str, command: str | None, report_to: str) -> Run:
    measurements = Measurements(work.original, hub.kept_scores(), work.reporter)
    selected = _select(work, measurements, removal)
    plan = selected.plan
    if plan.removed:
        work.reporter.tell(_told(plan))
    cut = _cut(work, plan) if plan.removed else None
    bridged = _bridge(work, plan)
    start = bridged.checkpoint or (cut.checkpoint if cut else None)
    grown = grow(work, measurements, work.place(start))
    start = grown.checkpoint if grown else start
    healed = heal(
        HealStage(
            work=work,
            plan=plan,
            start=work.place(start),
            after=grown.growth.after if grown else (),
            report_to=report_to,
            name=name,
        )
    )
    result = healed.checkpoint or start
    if result is None:
        raise NothingGained(
            f"{name} would be its original: {healed.healing.reason or healed.healing.plan.reason}"
        )
    stages = [stage for stage in (cut, bridged, grown, healed) if stage]
    variants = {"dense": work.original.folder}
    variants |= {s.checkpoint.variant: work.place(s.checkpoint) for s in stages if s.checkpoint}
    if healed.checkpoint:
        variants.pop(GROWN, None)  # it computes what it was grown from
    result = sharded(work, result)
    variants[result.variant] = work.place(result)
    trained = healed.healing.plan.depths
    evaluated = evaluate(work, variants, result, trained if len(trained) > 1 else ())
    exported = export(work, result)
    shown = without_folders(work.recipe)
    return Run(
        schema_version=SCHEMA_VERSION,
        name=name,
        command=command_line(shown, command, built_in_options(shown)),
        recipe=shown,
        environment=describe_environment(work.original.device),
        source=replace(work.original.source, model=shown.model, folder=Path(shown.model).name),
        dense=work.dense,
        similarity=selected.similarity,
        plan=plan,
        result=result,
        result_anatomy=_anatomy(work, result),
        intermediate=tuple(
            Variant(name=stage.checkpoint.variant, anatomy=_anatomy(work, stage.checkpoint))
            for stage in stages
            if stage.checkpoint and stage.checkpoint.variant != result.variant
        ),
        proofs=tuple(stage.proof for stage in stages if stage.proof),
        bridge=bridged.bridge,
        healing=healed.healing,
        evaluated=evaluated,
        started="",
        seconds=0.0,
        growth=grown.growth if grown else None,
        chat_template=has_chat_template(work.place(result)),
        exports=exported,
    )


def _anatomy(work: Work, checkpoint: Checkpoint) -> Anatomy:
    trusted = work.recipe.trust_remote_code
    return anatomy.describe(build_skeleton(work.place(checkpoint), trust_remote_code=trusted))


def _told(plan: Plan) -> str:
    distance = f" {plan.distance:.3f}" if plan.distance is not None and plan.method == "angular" else ""
    return f"removing layers {ranges(plan.removed)} of 0-{plan.num_layers - 1} ({plan.criterion}{distance})"


def _select(work: Work, measurements: Measurements, removal: Removal) -> Selected:
    def measure() -> Similarity:
        match removal:
            case NamedLayers(layers) if layers and (reason := work.original.reason_against(layers)):
                raise UnsupportedModel(reason)
        return measurements.similarity()

    similarity = work.folder.stage("measure", Similarity, work.inputs, measure)

    def compute() -> Selected:
        trials = trials_of(work.original, work.reporter.progress)
        return Selection(work.original, measurements, work.reporter, trials).select(similarity, removal)

    selected = work.folder.stage("choose", Selected, work.inputs, compute)
    write_whole(work.folder.path / "similarity.json", to_json(selected.similarity))
    return selected


def _cut(work: Work, plan: Plan) -> ProvedCut:
    target = work.folder.checkpoints / "cut"

    def compute() -> ProvedCut:
        checkpoint = _write(work, plan, target, {})
        return ProvedCut(checkpoint=checkpoint, proof=_prove(work, plan, target, {}))

    return work.folder.stage("cut", ProvedCut, work.inputs, compute, lambda _: target)


def _bridge(work: Work, plan: Plan) -> ProvedBridge:
    target = work.folder.checkpoints / "bridged"

    def compute() -> ProvedBridge:
        bridge, solved = _fit_bridge(work, plan)
        if not solved:
            return ProvedBridge(bridge=bridge, checkpoint=None, proof=None)
        checkpoint = _write(work, plan, target, solved)
        return ProvedBridge(bridge=bridge, checkpoint=checkpoint, proof=_prove(work, plan, target, solved))

    def left(record: ProvedBridge) -> Path | None:
        return target if record.checkpoint else None

    finished = work.folder.stage("bridge", ProvedBridge, work.inputs, compute, left)
    if finished.bridge.reason:
        work.reporter.tell(f"bridge: {finished.bridge.reason}")
    return finished


def _fit_bridge(work: Work, plan: Plan) -> tuple[Bridge, dict[str, torch.Tensor]]:
    recipe, original, progress = work.recipe, work.original, work.reporter.progress
    if recipe.bridge == "none" or not plan.removed:
        reason = "not asked for" if plan.removed else None
        return Bridge(method="none", folded=(), reason=reason), {}
    return make_bridge(original.decoder, original.calibration, plan.blocks, recipe.bridge, progress)


def _write(work: Work, plan: Plan, target: Path, replacements: dict[str, torch.Tensor]) -> Checkpoint:
    gone = sum(work.dense.parameters_per_layer[layer] for layer in plan.removed)
    needed = work.dense.size_bytes * (work.dense.parameters - gone) // work.dense.parameters
    check_room(target.parent, needed, f"writing the {target.name} checkpoint")
    with whole_folder(target) as partial:
        checkpoint = write_checkpoint(
            work.original.folder,
            partial,
            kept=plan.kept,
            variant=target.name,
            replacements=replacements,
            progress=work.reporter.progress,
            trust_remote_code=work.recipe.trust_remote_code,
        )
    return checkpoint


def _prove(work: Work, plan: Plan, target: Path, replacements: dict[str, torch.Tensor]) -> Proof:
    tokens, decoder = proof_tokens(work.original.calibration[0].ids), work.original.decoder
    expected = expected_logits(decoder, tokens, plan.kept, replacements)
    return prove(target, target.name, tokens, expected, decoder, work.reporter.progress)
