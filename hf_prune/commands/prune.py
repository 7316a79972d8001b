"""`hf-prune run`: the stages in their order, from a model's name to a published model with a card.

Each stage reads records and files and leaves a record. This module passes them on and decides nothing about
models. A stage that was finished with the same inputs is not repeated.
"""

import shutil
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

from hf_prune import hub
from hf_prune.errors import NothingGained, UnsupportedModel
from hf_prune.machine.clock import Clock
from hf_prune.machine.disk import write_whole
from hf_prune.machine.environment import check_tracker, describe_environment
from hf_prune.machine.processes import Ranks, join
from hf_prune.machine.progress import Reporter
from hf_prune.model import anatomy
from hf_prune.model.skeleton import build_skeleton
from hf_prune.recipe.files import options_of_builtin
from hf_prune.recipe.formats import parse_formats
from hf_prune.recipe.recipe import Publication, Recipe
from hf_prune.recipe.words import command_line, without_folders
from hf_prune.records import (
    Anatomy,
    AskedTasks,
    Checkpoint,
    Citation,
    NamedLayers,
    Presentation,
    Published,
    Removal,
    Selected,
    Similarity,
    Variant,
    fingerprint,
    to_json,
)
from hf_prune.records.blocks import ranges
from hf_prune.stages.bridge.stage import bridge
from hf_prune.stages.bridge.trials import trials_of
from hf_prune.stages.choose.selection import Selection
from hf_prune.stages.choose.target import layers_to_remove
from hf_prune.stages.cut.shards import sharded
from hf_prune.stages.cut.stage import cut
from hf_prune.stages.evaluate.stage import ask_tasks, evaluate
from hf_prune.stages.export.possible import check_exportable
from hf_prune.stages.export.stage import export
from hf_prune.stages.grow.stage import grow
from hf_prune.stages.grow.surgery import GROWN
from hf_prune.stages.heal.stage import HealStage, follow, heal
from hf_prune.stages.measure.measurements import Measurements, measure_together
from hf_prune.stages.original import Located, Original, locate, open_original
from hf_prune.stages.publish.folder import CARD, assemble, with_sections_of, write_card_and_record
from hf_prune.stages.publish.naming import result_name
from hf_prune.stages.publish.stage import check_publication, publish
from hf_prune.stages.run import Run
from hf_prune.stages.source.companions import has_chat_template
from hf_prune.stages.source.licence import cautions, fitting_name
from hf_prune.stages.texts.material import digests_of
from hf_prune.stages.work import RunFolder, Work


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A finished run."""

    run: Run
    folder: Path  # the run folder
    published: Published | None
    refused: tuple[str, ...] = ()  # why a quality gate stopped the publication

    @property
    def model(self) -> Path:
        """The folder with the smaller model and its card."""
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
        output: the run folder; None: a folder here named after the result.
        fresh: repeat everything, whatever an earlier run left in `output`.
        publication: where to publish; None: nowhere.
        max_memory: bytes for hidden states, beyond which they go to a file; None: half of the free memory.
        command: how the command that repeats this run begins; None: `hf-prune MODEL`.
        report_to: an experiment tracker that transformers knows ("trackio", "tensorboard"), or "none".
        cited: the paper whose recipe is followed, for the card.
        presentation: the user's template and notes for the card.

    Returns:
        The finished run; None in the processes that torchrun started to help.

    Raises:
        HfPruneError: what went wrong, in one line.
    """
    clock, reporter = Clock(), reporter or Reporter()
    check_tracker(report_to)
    prepared = _prepare(recipe, output, publication, reporter, max_memory=max_memory, fresh=fresh)
    if prepared.ranks.count > 1:
        measure_together(prepared.original, hub.kept_results("scores"), prepared.ranks, reporter)
    if not prepared.ranks.leads:
        follow(prepared.ranks)
        return None
    folder, inputs = prepared.folder, prepared.inputs

    def make() -> Run:
        run = _run_stages(prepared, command, report_to)
        run = replace(run, cited=cited, presentation=presentation, digests=prepared.digests)
        run = replace(run, started=clock.started, seconds=clock.seconds)
        assemble(run, folder, prepared.repo_id)
        return run

    run = folder.stage("run", Run, fingerprint(inputs, cited), make, lambda _: folder.model)
    if run.presentation != presentation:
        run = replace(run, presentation=presentation)
        write_card_and_record(run, folder.model, folder, prepared.repo_id)
    prepared.ranks.broadcast(None)
    shutil.rmtree(folder.checkpoints, ignore_errors=True)
    published, refused = None, run.refusals
    if prepared.repo_id is not None and publication is not None and not refused:
        run, published = publish(run, folder, prepared.repo_id, publication, reporter)
    return Outcome(run=run, folder=folder.path, published=published, refused=refused)


@dataclass(frozen=True)
class _Prepared:
    """A run that has no fault which shows without the weights."""

    located: Located
    removal: Removal
    name: str  # of the result
    repo_id: str | None  # where it is published
    folder: RunFolder
    ranks: Ranks
    tasks: AskedTasks | None
    max_memory: int | None
    reporter: Reporter

    @cached_property
    def original(self) -> Original:
        """The original. Its weights are fetched when it is first asked for."""
        checkpoints = self.folder.checkpoints
        return open_original(self.located, checkpoints, max_memory=self.max_memory, ranks=self.ranks)

    @cached_property
    def digests(self) -> tuple[str, ...]:
        """SHA-256 of everything that the run reads besides the model."""
        return digests_of(self.located.recipe, self.located.material)

    @cached_property
    def inputs(self) -> str:
        """A fingerprint of everything that decides the result."""
        located = self.located
        return fingerprint(located.recipe, located.model.identity, self.digests, version("hf-prune"))

    @property
    def work(self) -> Work:
        """What the stages share."""
        return Work(self.original, self.folder, self.inputs, self.reporter, self.ranks, self.tasks)


def _prepare(
    recipe: Recipe,
    output: Path | None,
    publication: Publication | None,
    reporter: Reporter,
    *,
    max_memory: int | None,
    fresh: bool,
) -> _Prepared:
    """Look for every fault that shows before the weights are fetched, and claim the run folder."""
    located = locate(recipe, reporter, exact=recipe.needs_sizes)
    check_exportable(parse_formats(recipe.formats), located.anatomy)
    ranks = join(located.device)
    removal = layers_to_remove(recipe, located.anatomy)
    terms = located.model.terms
    own_name = result_name(located.model.name, recipe, located.anatomy.num_layers, removal)
    name, repo_id = fitting_name(terms, own_name), None
    if publication is not None and ranks.leads:
        repo_id = check_publication(publication, name, terms, depths=recipe.depths is not None)
    for line in cautions(terms, own_name, publishing=repo_id is not None):
        reporter.tell(line)
    folder, tasks = RunFolder(output or Path(name)), None
    if ranks.leads:
        folder.claim(fingerprint(recipe), fresh=fresh)
        with_sections_of(folder.model / CARD, "")  # shows a fault in your own sections before the work
        tasks = ask_tasks(recipe, located.material, folder, reporter)
    return _Prepared(
        located=located,
        removal=removal,
        name=name,
        repo_id=repo_id,
        folder=folder,
        ranks=ranks,
        tasks=tasks,
        max_memory=max_memory,
        reporter=reporter,
    )


def _run_stages(prepared: _Prepared, command: str | None, report_to: str) -> Run:
    """Measure, choose, cut, bridge, grow, heal, evaluate and export."""
    work, name = prepared.work, prepared.name
    measurements = Measurements(work.original, hub.kept_results("scores"), work.reporter)
    selected = _select(work, measurements, prepared.removal)
    plan, removed = selected.plan, selected.plan.removed
    if removed:
        distance = plan.distance if plan.method == "angular" else None
        criterion = plan.criterion if distance is None else f"{plan.criterion} {distance:.3f}"
        work.reporter.tell(f"removing layers {ranges(removed)} of 0-{plan.num_layers - 1} ({criterion})")
    proved_cut = cut(work, plan) if removed else None
    bridged = bridge(work, plan)
    start = bridged.checkpoint or (proved_cut.checkpoint if proved_cut else None)
    grown = grow(work, measurements, work.folder_of(start))
    start = grown.checkpoint if grown else start
    stage = HealStage(
        work=work,
        plan=plan,
        start=work.folder_of(start),
        after=grown.growth.after if grown else (),
        report_to=report_to,
        name=name,
    )
    healed = heal(stage)
    result = healed.checkpoint or start
    if result is None:
        reason = healed.healing.reason or healed.healing.plan.reason
        raise NothingGained(f"{name} would be its original: {reason}")
    result = sharded(work, result)
    stages = [stage for stage in (proved_cut, bridged, grown, healed) if stage]
    checkpoints = [stage.checkpoint for stage in stages if stage.checkpoint]
    variants = {"dense": work.original.folder}
    variants |= {each.variant: work.folder_of(each) for each in (*checkpoints, result)}
    if healed.checkpoint:
        variants.pop(GROWN, None)  # it computes the same as the model that it was grown from
    depths = healed.healing.plan.depths
    intermediate = [each for each in checkpoints if each.variant != result.variant]
    shown = without_folders(work.recipe)
    return Run(
        name=name,
        command=command_line(shown, command, options_of_builtin(shown)),
        recipe=shown,
        environment=describe_environment(work.original.device),
        source=replace(work.original.source, model=shown.model, folder=Path(shown.model).name),
        dense=work.original.anatomy,
        similarity=selected.similarity,
        plan=plan,
        result=result,
        result_anatomy=_anatomy(work, result),
        intermediate=tuple(Variant(name=each.variant, anatomy=_anatomy(work, each)) for each in intermediate),
        proofs=tuple(stage.proof for stage in stages if stage.proof),
        bridge=bridged.bridge,
        healing=healed.healing,
        evaluated=evaluate(work, variants, result, depths if len(depths) > 1 else ()),
        exports=export(work, result),
        growth=grown.growth if grown else None,
        chat_template=has_chat_template(work.folder_of(result)),
    )


def _anatomy(work: Work, checkpoint: Checkpoint) -> Anatomy:
    trusted = work.recipe.trust_remote_code
    return anatomy.describe(build_skeleton(work.folder_of(checkpoint), trust_remote_code=trusted))


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
