"""The evaluate stage: every variant by every measure, each kept once it is made."""

from collections.abc import Mapping
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
from hf_prune.stages.evaluate.speculation import beginnings, measure_depths, measure_speculation
from hf_prune.stages.evaluate.speed import measure_speeds
from hf_prune.stages.evaluate.stability import compare
from hf_prune.stages.evaluate.tasks import Measured, ask, score
from hf_prune.stages.evaluate.writing import compare_writings, write
from hf_prune.stages.measure.agreement import agreement
from hf_prune.stages.texts.material import Material, fitted_parts, folder_digest
from hf_prune.stages.texts.windows import Windows
from hf_prune.stages.work import RunFolder, Work

DENSE = "dense"  # the variant that is the original


def evaluate(
    work: Work, variants: Mapping[str, Path], result: Checkpoint | None, depths: tuple[int, ...] = ()
) -> Evaluated:
    """Measure every variant, and what the result costs to run.

    Args:
        work: the run.
        variants: the folders, by name, the original's first, what is published last.
        result: the checkpoint that is published; None: there is none, but a model that is only measured.
        depths: of a sorted model, those that were trained.
    """
    decodes = work.dense.kind == DECODER
    shorter = [name for name in variants if name != DENSE]
    return Evaluated(
        perplexities=_perplexities(work, variants, "perplexity", work.original.heldout) if decodes else (),
        perplexities_elsewhere=(
            _perplexities(work, variants, "perplexity-elsewhere", work.original.elsewhere) if decodes else ()
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
    """What every variant makes of multiple choice, the original first."""
    if work.recipe.choice_items == 0 or work.dense.kind != DECODER:
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
    """What every variant writes, the original first; where that cannot be loaded, none is asked."""
    if work.dense.kind != DECODER:
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
    """Each depth of a sorted model: what it is worth, and a checkpoint of its own in `checkpoints`."""
    folder = work.place(result)
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
    if work.dense.kind != DECODER:
        return Attempt(reason="hf-prune measures that of decoders alone")
    return work.folder.stage("speed", Attempt[Speed], work.inputs, lambda: _measured_speeds(work, folders))


def _measured_speeds(work: Work, folders: dict[str, Path]) -> Attempt[Speed]:
    return measure_speeds(
        folders,
        work.dense.size_bytes,
        str(work.original.device),
        work.reporter.progress,
        original=DENSE if DENSE in folders else None,
        trust_remote_code=work.recipe.trust_remote_code,
    )


def ask_tasks(
    recipe: Recipe, material: Material | None, folder: RunFolder, reporter: Reporter
) -> AskedTasks | None:
    """The tasks that a recipe asks for, once it is sure that they can be measured; None: there are none.

    Args:
        recipe: what is asked for.
        material: what the model is fitted to; None: nothing is fitted.
        folder: of the run.
        reporter: is told what happens.

    Raises:
        RecipeError: there is no such task or folder.
        UnusableTask: a task's settings are wrong, or its items cannot be had.
        OverlappingData: an item stands in what the model is fitted to.
    """
    if recipe.tasks == "none":
        return None
    settings = (recipe.tasks, recipe.limit, recipe.fewshot, recipe.min_score, folder_digest(recipe))
    inputs = fingerprint(*settings, version("lm-eval"), list(material.digests) if material else [])
    fitted = fitted_parts(recipe, material) if material else []
    return folder.stage("tasks", AskedTasks, inputs, lambda: ask(recipe, reporter.progress, fitted))


def _tasks(work: Work, folders: Mapping[str, Path]) -> Attempt[TaskScore]:
    """The scores of every variant, and why some are missing."""
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
    """The result as the draft of its original, or each depth of a sorted one as the whole model's."""
    if not work.recipe.draft or result is None:
        return Attempt()
    folder, device, progress = work.place(result), str(work.original.device), work.reporter.progress
    trusted = work.recipe.trust_remote_code

    def compute() -> Attempt[Speculation]:
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

    return work.folder.stage("speculation", Attempt[Speculation], work.inputs, compute)
