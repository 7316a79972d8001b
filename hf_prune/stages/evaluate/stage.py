"""The evaluate stage: every measurement of every variant, each kept in the run folder."""

from collections.abc import Mapping, Sequence
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
    Speculation,
    Speed,
    TaskScore,
    Writing,
    fingerprint,
)
from hf_prune.stages.cut.checkpoint import depth_name, write_depth
from hf_prune.stages.evaluate.choices import answer
from hf_prune.stages.evaluate.depths import perplexities_by_depth
from hf_prune.stages.evaluate.items import Items, items_of
from hf_prune.stages.evaluate.perplexity import perplexity
from hf_prune.stages.evaluate.speculation import beginnings, measure_speculation
from hf_prune.stages.evaluate.speed import measure_speeds
from hf_prune.stages.evaluate.stability import compare
from hf_prune.stages.evaluate.tasks import Measured, ask, score
from hf_prune.stages.evaluate.writing import compare_writings, write
from hf_prune.stages.measure.agreement import agreement
from hf_prune.stages.texts.material import Material, fitted_parts, task_folder_digest
from hf_prune.stages.texts.windows import Windows
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
    decodes = work.original.anatomy.kind == DECODER
    shorter = [name for name in variants if name != DENSE]
    original = work.original
    return Evaluated(
        perplexities=_perplexities(work, variants, "perplexity", original.heldout) if decodes else (),
        perplexities_elsewhere=(
            _perplexities(work, variants, "perplexity-elsewhere", original.heldout_elsewhere)
            if decodes
            else ()
        ),
        agreements=tuple(_agreement(work, name, variants[name]) for name in shorter if not decodes),
        choices=_choices(work, variants),
        writings=_writing(work, variants),
        depths=_depths(work, result, depths) if result and depths else (),
        speeds=_speed(work, {name: variants[name] for name in (DENSE, [*variants][-1])}),
        speculations=_speculation(work, result, depths),
        scores=_tasks(work, variants),
    )


def _perplexities(
    work: Work, folders: Mapping[str, Path], stage: str, windows: Windows
) -> tuple[Perplexity, ...]:
    def compute(variant: str) -> Perplexity:
        decoder = _decoder(work, variant, folders[variant])
        return perplexity(decoder, windows, variant, work.reporter.progress)

    return tuple(
        work.folder.stage(f"{stage}-{variant}", Perplexity, work.inputs, partial(compute, variant))
        for variant in folders
    )


def _decoder(work: Work, variant: str, folder: Path) -> StreamedDecoder:
    return work.original.decoder if variant == DENSE else work.original.open(folder)


def _agreement(work: Work, variant: str, folder: Path) -> Agreement:
    def compute() -> Agreement:
        original, shorter = work.original.decoder, work.original.open(folder)
        return agreement(original, shorter, work.original.heldout, variant, work.reporter.progress)

    return work.folder.stage(f"agreement-{variant}", Agreement, work.inputs, compute)


def _choices(work: Work, folders: Mapping[str, Path]) -> tuple[Choices, ...]:
    """The multiple-choice accuracy of every variant, the original first."""
    if work.recipe.choice_items == 0 or work.original.anatomy.kind != DECODER:
        return ()
    items = items_of(work.original)
    answers = {variant: _answers(work, items, variant, folder) for variant, folder in folders.items()}
    return tuple(compare(items, variant, each, answers[DENSE]) for variant, each in answers.items())


def _answers(work: Work, items: Items, variant: str, folder: Path) -> tuple[Answer, ...]:
    def compute() -> Attempt[Answer]:
        decoder = _decoder(work, variant, folder)
        return Attempt(found=answer(decoder, items, variant, work.reporter.progress))

    return work.folder.stage(f"choices-{variant}", Attempt[Answer], work.inputs, compute).found


def _writing(work: Work, folders: Mapping[str, Path]) -> Attempt[Writing]:
    """What every variant writes, the original first. If one cannot be loaded, the rest is skipped."""
    if work.original.anatomy.kind != DECODER:
        return Attempt()
    written: list[Continuations] = []
    for variant, folder in folders.items():
        written.append(_continuations(work, variant, folder))
        if written[-1].reason:
            break
    tokenizer = work.original.tokenizer
    return compare_writings(written, work.original.heldout, lambda ids: str(tokenizer.decode(list(ids))))


def _continuations(work: Work, variant: str, folder: Path) -> Continuations:
    def compute() -> Continuations:
        decoder = _decoder(work, variant, folder)
        return write(folder, decoder, work.original.heldout, variant, work.reporter.progress)

    return work.folder.stage(f"writing-{variant}", Continuations, work.inputs, compute)


def _depths(work: Work, result: Checkpoint, depths: tuple[int, ...]) -> tuple[Depth, ...]:
    """Measure each depth of a sorted model, and write each as a checkpoint of its own."""
    folder = work.folder_of(result)
    trusted = work.recipe.trust_remote_code
    folders = {depth_name(depth): work.folder.checkpoints / depth_name(depth) for depth in depths[:-1]}

    def compute() -> Attempt[Depth]:
        written = []
        for depth, target in zip(depths[:-1], folders.values(), strict=True):
            with whole_folder(target) as unfinished:
                made = write_depth(
                    folder, unfinished, depth, work.reporter.progress, trust_remote_code=trusted
                )
            written.append(made)
        speeds = _measured_speeds(work, {**folders, depth_name(depths[-1]): folder}).found
        each = [*written, result]
        heldout, progress = work.original.heldout, work.reporter.progress
        before = perplexities_by_depth(work.original.decoder, heldout, depths, "truncated", progress)
        after = perplexities_by_depth(work.original.open(folder), heldout, depths, "sorted", progress)
        table = []
        for depth, checkpoint, truncated, trained in zip(depths, each, before, after, strict=True):
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
        return Attempt(found=tuple(table))

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
        folder: of the run.

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
    asked = work.tasks
    if asked is None:
        return Attempt()
    trials = [_scored(work, asked, variant, folder) for variant, folder in folders.items()]
    scores = tuple(score for trial in trials for score in trial.found)
    return Attempt(found=scores, reason=next((t.reason for t in trials if t.reason), None))


def _scored(work: Work, asked: AskedTasks, variant: str, folder: Path) -> Attempt[TaskScore]:
    size_bytes = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    model = Measured(variant=variant, folder=folder, size_bytes=size_bytes)
    device, kept, progress = str(work.original.device), hub.kept_task_scores(), work.reporter.progress

    def compute() -> Attempt[TaskScore]:
        return score(model, asked, work.recipe, device, kept, progress)

    return work.folder.stage(f"tasks-{variant}", Attempt[TaskScore], fingerprint(work.inputs, asked), compute)


def _speculation(work: Work, result: Checkpoint | None, depths: tuple[int, ...]) -> Attempt[Speculation]:
    """Speculative decoding: the result as the original's draft, or each depth as a sorted model's draft."""
    if not work.recipe.draft or result is None:
        return Attempt()
    folder, device, progress = work.folder_of(result), str(work.original.device), work.reporter.progress
    trusted = work.recipe.trust_remote_code

    def compute() -> Attempt[Speculation]:
        drafts: Sequence[Path | int] = depths[:-1]
        parent, size = folder, result.size_bytes
        if not depths:
            parent, drafts = work.original.folder, (folder,)
            size += work.original.anatomy.size_bytes
        attempts: list[Attempt[Speculation]] = []
        for draft in drafts:
            prompts = beginnings(work.original.heldout)
            attempt = measure_speculation(
                parent, draft, prompts, size, device, progress, trust_remote_code=trusted
            )
            attempts.append(attempt)
            if attempt.reason is not None:
                break
        found = tuple(speculation for attempt in attempts for speculation in attempt.found)
        return Attempt(found=found, reason=attempts[-1].reason)

    return work.folder.stage("speculation", Attempt[Speculation], work.inputs, compute)
