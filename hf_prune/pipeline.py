"""The order of the stages: source, measure, choose, cut, prove, bridge, evaluate, card, publish.

Each stage reads records and files and leaves a record; this module hands them on and decides nothing
about models. A stage that was finished with the same inputs is not done again.
"""

import os
import shutil
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch

from hf_prune import anatomy, calibration, hub, images
from hf_prune.bridge.choose import make_bridge
from hf_prune.card import render_card, render_depth_card, render_pictures
from hf_prune.choose.blocks import ranges
from hf_prune.choose.target import layers_to_remove
from hf_prune.cut import write_checkpoint
from hf_prune.disk import check_room, gigabytes, whole_folder, write_whole
from hf_prune.encoder_card import render_encoder_card
from hf_prune.environment import check_tracker, describe_environment
from hf_prune.errors import NothingGained, UnsupportedModel
from hf_prune.evaluate.choices import answer
from hf_prune.evaluate.depths import depth_name, perplexities_by_depth
from hf_prune.evaluate.perplexity import perplexity
from hf_prune.evaluate.speculation import beginnings, measure_depths, measure_speculation
from hf_prune.evaluate.speed import measure_speeds
from hf_prune.evaluate.stability import compare
from hf_prune.extract import publish_depth, write_depth
from hf_prune.grow.places import places_for
from hf_prune.grow.stage import GrowStage, grow
from hf_prune.grow.surgery import GROWN
from hf_prune.heal.stage import HealStage, follow, heal
from hf_prune.images import Images
from hf_prune.measure.agreement import agreement
from hf_prune.measure.scores import Scores, measured_together
from hf_prune.original import Original, locate, open_original, without_folders
from hf_prune.progress import Reporter
from hf_prune.prove import expected_logits, proof_tokens, prove
from hf_prune.ranks import Ranks, join
from hf_prune.recipe import Publication, Recipe, command_line
from hf_prune.recipe_files import built_in_options, recipe_text
from hf_prune.records import (
    DECODER,
    Agreement,
    Anatomy,
    Answers,
    Bridge,
    Checkpoint,
    Choices,
    Citation,
    Depth,
    DepthTable,
    Perplexity,
    Plan,
    Proof,
    ProvedBridge,
    ProvedCut,
    ProvedHealing,
    Published,
    Selected,
    Similarity,
    SpeculationTrial,
    SpeedTrial,
    fingerprint,
    to_json,
)
from hf_prune.report import MARKER, SCHEMA_VERSION, Run
from hf_prune.run_folder import RunFolder
from hf_prune.selection import Selection
from hf_prune.skeleton import build_skeleton

RECIPE = "hf_prune_recipe.yaml"  # in a published repository: what makes the same of another model


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run leaves behind."""

    run: Run
    folder: Path  # the run folder
    published: Published | None

    @property
    def model(self) -> Path:
        """The folder that holds the smaller model and its card."""
        return RunFolder(self.folder).model


@dataclass(frozen=True)
class _Work:
    """What the stages share: the original, and where results go."""

    original: Original
    folder: RunFolder
    inputs: str  # a fingerprint of everything that decides the result
    reporter: Reporter
    ranks: Ranks

    @property
    def recipe(self) -> Recipe:
        return self.original.recipe

    @property
    def dense(self) -> Anatomy:
        return self.original.dense

    def place(self, checkpoint: Checkpoint | None) -> Path:
        """Where a checkpoint is; None: the original."""
        return self.folder.checkpoints / checkpoint.variant if checkpoint else self.original.folder


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

    Returns:
        What the run left; None in the processes that torchrun started to help.

    Raises:
        HfPruneError: whatever went wrong, in one line.
    """
    began, started = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    reporter = reporter or Reporter()
    check_tracker(report_to)
    located = locate(recipe, reporter, exact=recipe.needs_sizes)
    ranks = join(located.device)
    wanted = layers_to_remove(recipe, located.anatomy)
    name = _name_of(located.found.name, recipe, located.anatomy.num_layers, wanted)
    repo_id = _check_publication(publication, name) if ranks.leads else None
    folder = RunFolder(output or Path(name))
    if ranks.leads:
        folder.claim(fingerprint(recipe), fresh=fresh)

    @cache
    def opened() -> Original:  # fetched when it is first asked for
        return open_original(located, folder.checkpoints, max_memory=max_memory, ranks=ranks)

    if ranks.count > 1:
        measured_together(opened(), hub.kept_scores(), ranks, reporter)
    if not ranks.leads:
        follow(ranks)
        return None
    texts = [*located.texts, *([located.healing_text] if located.healing_text else [])]
    digests = [images.digest(t) if isinstance(t, Images) else calibration.digest(t) for t in texts]
    digests += [located.questions.sha256] if located.questions else []
    inputs = fingerprint(recipe, located.found.identity, digests, version("hf-prune"))

    def make() -> Run:
        work = _Work(opened(), folder, inputs, reporter, ranks)
        run = _run_stages(work, wanted, name, command, report_to)
        run = replace(run, cited=cited, started=started, seconds=round(time.monotonic() - began, 1))
        _assemble(run, folder, repo_id)
        return run

    run = folder.stage("run", Run, fingerprint(inputs, cited), make, lambda _: folder.model)
    ranks.tell(None)
    shutil.rmtree(folder.checkpoints, ignore_errors=True)
    published = None
    if repo_id is not None and publication is not None:
        published = _publish(run, folder, repo_id, publication, reporter)
    return Outcome(run=run, folder=folder.path, published=published)


def _name_of(model: str, recipe: Recipe, num_layers: int, wanted: tuple[int, ...] | int | None) -> str:
    if recipe.depths is not None:
        return f"{model}-sorted"
    if wanted is None:
        return f"{model}-within-{recipe.max_loss:g}"
    left = num_layers - (wanted if isinstance(wanted, int) else len(wanted))
    new = len(places_for(recipe.grow, left)) if recipe.grow else 0
    return f"{model}-{left + new}L" if wanted or new else f"{model}-{recipe.heal}"


def _check_publication(publication: Publication | None, name: str) -> str | None:
    """The name to publish under, once it is sure that this user may."""
    if publication is None:
        return None
    repo_id = hub.check_may_publish(publication.repo_id, name)
    hub.refuse_foreign(repo_id, MARKER, overwrite=publication.overwrite)
    return repo_id


def _run_stages(
    work: _Work, wanted: tuple[int, ...] | int | None, name: str, command: str | None, report_to: str
) -> Run:
    scores = Scores(work.original, hub.kept_scores(), work.reporter)
    selected = _select(work, scores, wanted)
    plan = selected.plan
    if plan.removed:
        work.reporter.tell(_told(plan))
    cut = _cut(work, plan) if plan.removed else None
    bridged = _bridge(work, plan)
    start = bridged.checkpoint or (cut.checkpoint if cut else None)
    grown = grow(
        GrowStage(
            original=work.original,
            scores=scores,
            run=work.folder,
            start=work.place(start),
            inputs=work.inputs,
            reporter=work.reporter,
        )
    )
    start = grown.checkpoint if grown else start
    healed = heal(
        HealStage(
            original=work.original,
            run=work.folder,
            plan=plan,
            start=work.place(start),
            after=grown.growth.after if grown else (),
            inputs=work.inputs,
            reporter=work.reporter,
            ranks=work.ranks,
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
    decodes = work.dense.kind == DECODER
    perplexities = tuple(_evaluate(work, variant, path) for variant, path in variants.items() if decodes)
    shorter = [variant for variant in variants if variant != "dense" and not decodes]
    choices = _choose(work, variants)
    depths = _depths(work, healed) if healed.healing.plan.depths else ()
    trial = _try_speed(work, {v: variants[v] for v in ("dense", result.variant)})
    drafted = _try_draft(work, result, healed.healing.plan.depths)
    shown = without_folders(work.recipe)
    written = build_skeleton(work.place(result), trust_remote_code=work.recipe.trust_remote_code)
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
        result_anatomy=anatomy.describe(written),
        proofs=tuple(stage.proof for stage in stages if stage.proof),
        bridge=bridged.bridge,
        healing=healed.healing,
        perplexities=perplexities,
        speeds=trial.speeds,
        speed_reason=trial.reason,
        speculations=drafted.speculations,
        speculation_reason=drafted.reason,
        started="",
        seconds=0.0,
        growth=grown.growth if grown else None,
        depths=depths,
        agreements=tuple(_agree(work, variant, variants[variant]) for variant in shorter),
        choices=choices,
    )


def _told(plan: Plan) -> str:
    distance = f" {plan.distance:.3f}" if plan.distance is not None and plan.method == "angular" else ""
    return f"removing layers {ranges(plan.removed)} of 0-{plan.num_layers - 1} ({plan.criterion}{distance})"


def _select(work: _Work, scores: Scores, wanted: tuple[int, ...] | int | None) -> Selected:
    def measure() -> Similarity:
        if isinstance(wanted, tuple) and wanted and (reason := work.original.reason_against(wanted)):
            raise UnsupportedModel(reason)
        return scores.similarity()

    similarity = work.folder.stage("measure", Similarity, work.inputs, measure)

    def compute() -> Selected:
        return Selection(work.original, scores, work.reporter).select(similarity, wanted)

    selected = work.folder.stage("choose", Selected, work.inputs, compute)
    write_whole(work.folder.path / "similarity.json", to_json(selected.similarity))
    return selected


def _cut(work: _Work, plan: Plan) -> ProvedCut:
    target = work.folder.checkpoints / "cut"

    def compute() -> ProvedCut:
        checkpoint = _write(work, plan, target, {})
        return ProvedCut(checkpoint=checkpoint, proof=_prove(work, plan, target, {}))

    return work.folder.stage("cut", ProvedCut, work.inputs, compute, lambda _: target)


def _bridge(work: _Work, plan: Plan) -> ProvedBridge:
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


def _fit_bridge(work: _Work, plan: Plan) -> tuple[Bridge, dict[str, torch.Tensor]]:
    recipe, original, progress = work.recipe, work.original, work.reporter.progress
    if recipe.bridge == "none" or not plan.removed:
        reason = "not asked for" if plan.removed else None
        return Bridge(method="none", folded=(), reason=reason), {}
    return make_bridge(original.decoder, original.calibration, plan.blocks, recipe.bridge, progress)


def _write(work: _Work, plan: Plan, target: Path, replacements: dict[str, torch.Tensor]) -> Checkpoint:
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


def _prove(work: _Work, plan: Plan, target: Path, replacements: dict[str, torch.Tensor]) -> Proof:
    tokens, decoder = proof_tokens(work.original.calibration[0]), work.original.decoder
    expected = expected_logits(decoder, tokens, plan.kept, replacements)
    return prove(target, target.name, tokens, expected, decoder, work.reporter.progress)


def _evaluate(work: _Work, variant: str, folder: Path) -> Perplexity:
    def compute() -> Perplexity:
        decoder = work.original.decoder if variant == "dense" else work.original.open(folder)
        return perplexity(decoder, work.original.heldout, variant, work.reporter.progress)

    return work.folder.stage(f"perplexity-{variant}", Perplexity, work.inputs, compute)


def _agree(work: _Work, variant: str, folder: Path) -> Agreement:
    def compute() -> Agreement:
        original, shorter = work.original.decoder, work.original.open(folder)
        return agreement(original, shorter, work.original.heldout, variant, work.reporter.progress)

    return work.folder.stage(f"agreement-{variant}", Agreement, work.inputs, compute)


def _choose(work: _Work, folders: dict[str, Path]) -> tuple[Choices, ...]:
    """What every variant makes of multiple choice, the original first."""
    if work.recipe.choice_items == 0 or work.dense.kind != DECODER:
        return ()
    answers = [_answer(work, variant, folder) for variant, folder in folders.items()]
    return tuple(compare(work.original.items, each, answers[0]) for each in answers)


def _answer(work: _Work, variant: str, folder: Path) -> Answers:
    def compute() -> Answers:
        decoder = work.original.decoder if variant == "dense" else work.original.open(folder)
        return answer(decoder, work.original.items, variant, work.reporter.progress)

    return work.folder.stage(f"choices-{variant}", Answers, work.inputs, compute)


def _depths(work: _Work, healed: ProvedHealing) -> tuple[Depth, ...]:
    """Each depth of a sorted model: what it is worth, and a checkpoint of its own in `checkpoints`."""
    depths, folder = healed.healing.plan.depths, work.place(healed.checkpoint)
    trusted = work.recipe.trust_remote_code
    folders = {depth_name(depth): work.folder.checkpoints / depth_name(depth) for depth in depths[:-1]}

    def compute() -> DepthTable:
        written = []
        for depth, target in zip(depths[:-1], folders.values(), strict=True):
            with whole_folder(target) as partial:
                made = write_depth(folder, partial, depth, work.reporter.progress, trust_remote_code=trusted)
            written.append(made)
        speeds = _measured_speeds(work, {**folders, depth_name(depths[-1]): folder}).speeds
        each = [*written, healed.checkpoint]
        heldout, progress = work.original.heldout, work.reporter.progress
        before = perplexities_by_depth(work.original.decoder, heldout, depths, "truncated", progress)
        after = perplexities_by_depth(work.original.open(folder), heldout, depths, "sorted", progress)
        table = []
        for depth, checkpoint, truncated, trained in zip(depths, each, before, after, strict=True):
            assert checkpoint is not None
            table.append(
                Depth(
                    layers=depth,
                    parameters=checkpoint.parameters,
                    size_bytes=checkpoint.size_bytes,
                    truncated=truncated,
                    perplexity=trained,
                    speed=next((speed for speed in speeds if speed.variant == depth_name(depth)), None),
                )
            )
        return DepthTable(depths=tuple(table))

    shallowest = folders[depth_name(depths[0])] if folders else folder
    return work.folder.stage("depths", DepthTable, work.inputs, compute, lambda _: shallowest).depths


def _try_speed(work: _Work, folders: dict[str, Path]) -> SpeedTrial:
    if work.dense.kind != DECODER:
        return SpeedTrial(speeds=(), reason="hf-prune measures that of decoders alone")
    return work.folder.stage("speed", SpeedTrial, work.inputs, lambda: _measured_speeds(work, folders))


def _measured_speeds(work: _Work, folders: dict[str, Path]) -> SpeedTrial:
    return measure_speeds(
        folders,
        work.dense.size_bytes,
        str(work.original.device),
        work.reporter.progress,
        trust_remote_code=work.recipe.trust_remote_code,
    )


def _try_draft(work: _Work, result: Checkpoint, depths: tuple[int, ...]) -> SpeculationTrial:
    """The result as the draft of its original, or each depth of a sorted one as the whole model's."""
    if not work.recipe.draft:
        return SpeculationTrial(speculations=(), reason=None)
    folder, device, progress = work.place(result), str(work.original.device), work.reporter.progress
    trusted = work.recipe.trust_remote_code

    def compute() -> SpeculationTrial:
        prompts = beginnings(work.original.heldout)
        if depths:
            size = result.size_bytes
            return measure_depths(
                folder, depths[:-1], prompts, size, device, progress, trust_remote_code=trusted
            )
        original, size = work.original.folder, work.dense.size_bytes + result.size_bytes
        return measure_speculation(
            original, folder, None, prompts, size, device, progress, trust_remote_code=trusted
        )

    return work.folder.stage("speculation", SpeculationTrial, work.inputs, compute)


def _assemble(run: Run, folder: RunFolder, repo_id: str | None) -> None:
    """The folder that is published: the last checkpoint, its card, its pictures, its record."""
    checkpoint = folder.checkpoints / run.result.variant
    record = to_json(run)
    with whole_folder(folder.model) as partial:
        for path in sorted(checkpoint.iterdir()):
            _link(path, partial / path.name)
        for name, picture in render_pictures(run).items():
            (partial / name).parent.mkdir(exist_ok=True)
            (partial / name).write_bytes(picture)
        (partial / MARKER).write_text(record, encoding="utf-8")
        (partial / "README.md").write_text(_card(run, repo_id), encoding="utf-8")
        made = f"{run.source.repo_id or run.source.folder}: {run.command}"
        (partial / RECIPE).write_text(recipe_text(run.recipe, run.cited, made), encoding="utf-8")
    for depth in run.depths[:-1]:
        name = depth_name(depth.layers)
        with whole_folder(folder.depths / name) as partial:
            for path in sorted((folder.checkpoints / name).iterdir()):
                _link(path, partial / path.name)
            card = render_depth_card(run, depth.layers, repo_id)
            (partial / "README.md").write_text(card, encoding="utf-8")
    write_whole(folder.path / "run.json", record)


def _card(run: Run, repo_id: str | None) -> str:
    return (render_card if run.dense.kind == DECODER else render_encoder_card)(run, repo_id)


def _link(path: Path, target: Path) -> None:
    """A second name for a file that is never changed; a copy where the disk has no such names."""
    try:
        os.link(path, target)
    except OSError:
        shutil.copyfile(path, target)


def _publish(
    run: Run, folder: RunFolder, repo_id: str, publication: Publication, reporter: Reporter
) -> Published:
    card = _card(run, repo_id)
    write_whole(folder.model / "README.md", card)
    reporter.tell(f"publishing {gigabytes(run.result.size_bytes)} to {repo_id}")
    origin = run.source.repo_id or run.source.folder
    done = f"layers {ranges(run.plan.removed)} of {origin} removed" if run.plan.removed else f"from {origin}"
    message = f"{run.name}: {done}"
    url, commit = hub.upload(repo_id, folder.model, message, private=publication.private)
    for depth in run.depths[:-1]:
        place = folder.depths / depth_name(depth.layers)
        write_whole(place / "README.md", render_depth_card(run, depth.layers, repo_id))
        publish_depth(repo_id, place, depth.layers)
    return Published(repo_id=repo_id, url=url, commit=commit, private=publication.private)
