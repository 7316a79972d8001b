"""The evaluate stage: every measurement of every variant, each kept in the run folder."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path

from hf_prune import hub
from hf_prune.machine.disk import whole_folder
from hf_prune.machine.progress import Reporter
from hf_prune.model.decoder import StreamedDecoder
from hf_prune.recipe.recipe import Recipe
from hf_prune.records import (
    DECODER,
    Agreement,
    Answer,
    AskedTasks,
    Attempt,
    Checkpoint,
    Choices,
    Continuations,
    Depth,
    Evaluated,
    Perplexity,
    Record,
    Speculation,
    Speed,
    TaskScore,
    Writing,
    fingerprint,
)
from hf_prune.stages.cut.checkpoint import depth_name, write_depth
from hf_prune.stages.evaluate.choices import answer
from hf_prune.stages.evaluate.depths import perplexities_by_depth
from hf_prune.stages.evaluate.items import items_of
from hf_prune.stages.evaluate.perplexity import perplexity
from hf_prune.stages.evaluate.speculation import beginnings, measure_speculation
from hf_prune.stages.evaluate.speed import measure_speeds
from hf_prune.stages.evaluate.stability import compare
from hf_prune.stages.evaluate.tasks import ask, measured_model, score
from hf_prune.stages.evaluate.writing import compare_writings, write
from hf_prune.stages.measure.agreement import agreement
from hf_prune.stages.texts.material import Material, fitted_parts, task_folder_digest
from hf_prune.stages.work import RunFolder, Work

DENSE = "dense"  # the variant that is the original


def evaluate(
    work: Work, variants: Mapping[str, Path], result: Checkpoint | None, depths: tuple[int, ...] = ()
) -> Evaluated:
    """Measure every variant of a run, and the speed of the original and the result.

    Args:
        variants: the folders by name: the original first, the published one last.
        result: the published checkpoint; None: nothing is published.
        depths: the trained depths of a sorted model.
    """
    original, progress = work.original, work.reporter.progress
    decoders = variants if original.anatomy.kind == DECODER else {}
    shorter_encoders = {name: variants[name] for name in variants if name != DENSE and not decoders}

    def heldout(decoder: StreamedDecoder, variant: str) -> Perplexity:
        return perplexity(decoder, original.heldout, variant, progress)

    def elsewhere(decoder: StreamedDecoder, variant: str) -> Perplexity:
        return perplexity(decoder, original.heldout_elsewhere, variant, progress)

    def to_original(encoder: StreamedDecoder, variant: str) -> Agreement:
        return agreement(original.decoder, encoder, original.heldout, variant, progress)

    return Evaluated(
        perplexities=tuple(_each(work, decoders, "perplexity", Perplexity, heldout)),
        perplexities_elsewhere=tuple(_each(work, decoders, "perplexity-elsewhere", Perplexity, elsewhere)),
        agreements=tuple(_each(work, shorter_encoders, "agreement", Agreement, to_original)),
        choices=_choices(work, decoders),
        writings=_writing(work, decoders),
        depths=_depths(work, result, depths) if result and depths else (),
        speeds=_speed(work, {name: variants[name] for name in (DENSE, [*variants][-1])}),
        speculations=_speculation(work, result, depths),
        scores=_tasks(work, variants),
    )


def _each(
    work: Work,
    folders: Mapping[str, Path],
    stage: str,
    kind: type[Record],
    measure: Callable[[StreamedDecoder, str], Record],
) -> Iterator[Record]:
    """The record of each variant in turn, kept in the run folder."""

    def compute(variant: str) -> Record:
        opened = work.original.decoder if variant == DENSE else work.original.open(folders[variant])
        return measure(opened, variant)

    for variant in folders:
        yield work.folder.stage(f"{stage}-{variant}", kind, work.inputs, partial(compute, variant))


def _choices(work: Work, decoders: Mapping[str, Path]) -> tuple[Choices, ...]:
    """The multiple-choice accuracy of every variant, the original first."""
    if work.recipe.choice_items == 0 or not decoders:
        return ()
    items = items_of(work.original)

    def compute(decoder: StreamedDecoder, variant: str) -> Attempt[Answer]:
        return Attempt(found=answer(decoder, items, variant, work.reporter.progress))

    answers = [each.found for each in _each(work, decoders, "choices", Attempt[Answer], compute)]
    pairs = zip(decoders, answers, strict=True)
    return tuple(compare(items, variant, each, answers[0]) for variant, each in pairs)


def _writing(work: Work, decoders: Mapping[str, Path]) -> Attempt[Writing]:
    """What every variant writes, the original first. If one cannot be loaded, the rest is skipped."""
    if not decoders:
        return Attempt()
    original = work.original

    def compute(decoder: StreamedDecoder, variant: str) -> Continuations:
        return write(decoders[variant], decoder, original.heldout, variant, work.reporter.progress)

    written: list[Continuations] = []
    for each in _each(work, decoders, "writing", Continuations, compute):
        written.append(each)
        if each.reason:
            break
    return compare_writings(written, original.heldout, lambda ids: str(original.tokenizer.decode(list(ids))))


def _depths(work: Work, result: Checkpoint, depths: tuple[int, ...]) -> tuple[Depth, ...]:
    """Measure each depth of a sorted model, and write each as a checkpoint of its own."""
    folder = work.folder_of(result)
    trusted = work.recipe.trust_remote_code
    folders = {depth_name(depth): work.folder.checkpoints / depth_name(depth) for depth in depths[:-1]}

    def compute() -> Attempt[Depth]:
        heldout, progress = work.original.heldout, work.reporter.progress
        checkpoints = []
        for depth, target in zip(depths[:-1], folders.values(), strict=True):
            with whole_folder(target) as unfinished:
                written = write_depth(folder, unfinished, depth, progress, trust_remote_code=trusted)
            checkpoints.append(written)
        speeds = _measured_speeds(work, {**folders, depth_name(depths[-1]): folder}).found
        speed_of = {speed.variant: speed for speed in speeds}
        before = perplexities_by_depth(work.original.decoder, heldout, depths, "truncated", progress)
        after = perplexities_by_depth(work.original.open(folder), heldout, depths, "sorted", progress)
        rows = zip(depths, [*checkpoints, result], before, after, strict=True)
        found = tuple(
            Depth(
                layers=depth,
                parameters=checkpoint.parameters,
                size_bytes=checkpoint.size_bytes,
                truncated=truncated,
                perplexity=trained,
                speed=speed_of.get(depth_name(depth)),
            )
            for depth, checkpoint, truncated, trained in rows
        )
        return Attempt(found=found)

    shallowest = folders[depth_name(depths[0])] if folders else folder
    return work.folder.stage("depths", Attempt[Depth], work.inputs, compute, lambda _: shallowest).found


def _speed(work: Work, folders: dict[str, Path]) -> Attempt[Speed]:
    if work.original.anatomy.kind != DECODER:
        return Attempt(reason="hf-prune measures them for decoders only")
    return work.folder.stage("speed", Attempt[Speed], work.inputs, lambda: _measured_speeds(work, folders))


def _measured_speeds(work: Work, folders: dict[str, Path]) -> Attempt[Speed]:
    return measure_speeds(
        folders,
        work.original.anatomy.size_bytes,
        str(work.original.device),
        work.reporter.progress,
        original=DENSE if DENSE in folders else None,
        trust_remote_code=work.recipe.trust_remote_code,
    )


def ask_tasks(
    recipe: Recipe, material: Material | None, folder: RunFolder, reporter: Reporter
) -> AskedTasks | None:
    """The tasks of a recipe, after a check that they can be measured; None: it has no tasks.

    Args:
        material: what the model is fitted to; None: nothing is fitted.

    Raises:
        RecipeError: there is no such task or folder.
        UnusableTask: a task's settings are wrong, or its items cannot be had.
        OverlappingData: an item stands in what the model is fitted to.
    """
    if recipe.tasks == "none":
        return None
    settings = (recipe.tasks, recipe.limit, recipe.fewshot, recipe.min_score, task_folder_digest(recipe))
    inputs = fingerprint(*settings, version("lm-eval"), list(material.digests) if material else [])
    fitted = fitted_parts(recipe, material) if material else []
    return folder.stage("tasks", AskedTasks, inputs, lambda: ask(recipe, reporter.progress, fitted))


def _tasks(work: Work, folders: Mapping[str, Path]) -> Attempt[TaskScore]:
    """The task scores of every variant, and why some are missing."""
    if work.tasks is None:
        return Attempt()
    trials = [_scored(work, work.tasks, variant, folder) for variant, folder in folders.items()]
    scores = tuple(score for trial in trials for score in trial.found)
    return Attempt(found=scores, reason=next((t.reason for t in trials if t.reason), None))


def _scored(work: Work, asked: AskedTasks, variant: str, folder: Path) -> Attempt[TaskScore]:
    model = measured_model(variant, folder)
    device, kept, progress = str(work.original.device), hub.kept_results("tasks"), work.reporter.progress

    def compute() -> Attempt[TaskScore]:
        return score(model, asked, work.recipe, device, kept, progress)

    return work.folder.stage(f"tasks-{variant}", Attempt[TaskScore], fingerprint(work.inputs, asked), compute)


def _speculation(work: Work, result: Checkpoint | None, depths: tuple[int, ...]) -> Attempt[Speculation]:
    """Speculative decoding: the result as the original's draft, or each depth as a sorted model's draft."""
    if not work.recipe.draft or result is None:
        return Attempt()
    folder, original = work.folder_of(result), work.original

    def compute() -> Attempt[Speculation]:
        parent, size = folder, result.size_bytes
        drafts: Sequence[Path | int] = depths[:-1]
        if not depths:
            parent, drafts = original.folder, (folder,)
            size += original.anatomy.size_bytes
        found: list[Speculation] = []
        for draft in drafts:
            attempt = measure_speculation(
                parent,
                draft,
                beginnings(original.heldout),
                size,
                str(original.device),
                work.reporter.progress,
                trust_remote_code=work.recipe.trust_remote_code,
            )
            found += attempt.found
            if attempt.reason is not None:
                return Attempt(found=tuple(found), reason=attempt.reason)
        return Attempt(found=tuple(found))

    return work.folder.stage("speculation", Attempt[Speculation], work.inputs, compute)
