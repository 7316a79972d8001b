"""The figures of a card, measured again on the same text with some tolerance for rounding."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from importlib import resources
from itertools import groupby
from pathlib import Path

from hf_prune.commands.verify.claims import Claim, near, unchecked, within
from hf_prune.commands.verify.subject import reading
from hf_prune.errors import HfPruneError, UnusableText
from hf_prune.machine.progress import Progress
from hf_prune.model.decoder import StreamedDecoder, run_layers
from hf_prune.records import DECODER, IMAGE_ENCODER, Choices, Perplexity, TextTokens
from hf_prune.stages.evaluate.choices import answer
from hf_prune.stages.evaluate.depths import perplexities_by_depth
from hf_prune.stages.evaluate.items import Items, items_of
from hf_prune.stages.evaluate.perplexity import of_losses, perplexity, sequence_losses
from hf_prune.stages.evaluate.stability import compare
from hf_prune.stages.evaluate.stage import DENSE
from hf_prune.stages.measure.agreement import agreement
from hf_prune.stages.original import Original
from hf_prune.stages.run import Run
from hf_prune.stages.texts import text as calibration
from hf_prune.stages.texts.images import Images, recorded_heldout
from hf_prune.stages.texts.questions import read_questions
from hf_prune.stages.texts.text import Text
from hf_prune.stages.texts.windows import Windows

# How much a figure of the same weights differs on another machine; docs/verify.md has the measurements.
PERPLEXITY_SHARE = {"float32": 0.0005}
PERPLEXITY_SHARE_ROUNDED = 0.005  # computed in 16 bits
COSINE_DIFFERENCE = 0.002
ITEMS_SHARE = 0.03  # this share of the items, but at least one, may be answered differently


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """The published model and, if it is available, its original."""

    run: Run
    published: Original
    original: Original | None
    reason: str  # why the original is not available
    data: Path  # a folder with the texts that do not come with hf-prune
    progress: Progress

    @property
    def tolerance(self) -> float:
        """The share by which a perplexity may differ."""
        full = str(self.published.decoder.dtype).removeprefix("torch.")
        return PERPLEXITY_SHARE.get(full, PERPLEXITY_SHARE_ROUNDED)


def figure_claims(models: Models) -> Iterator[Claim]:
    """Measure every figure of the record again, but for the harness's scores: see `scores`."""
    run = models.run
    yield from _perplexity_claims(models, "perplexity", run.evaluated.perplexities)
    yield from _perplexity_claims(models, "perplexity elsewhere", run.evaluated.perplexities_elsewhere)
    yield from _depth_claims(models)
    yield from _agreement_claims(models)
    yield from _choice_claims(models)


def not_measured(run: Run) -> Iterator[Claim]:
    """The figures that are not measured again, because they depend on the machine."""
    machine = "it depends on the machine, so it is not measured again"
    rows = {
        "speed and memory": (run.evaluated.speeds.found, machine),
        "drafts": (run.evaluated.speculations.found, machine),
        "writing": (
            run.evaluated.writings.found,
            "on another machine one different token changes all tokens after it",
        ),
    }
    for name, (figures, reason) in rows.items():
        if figures:
            yield unchecked(name, f"{len(figures)} figures", reason)


def _perplexity_claims(models: Models, name: str, claimed: Iterable[Perplexity]) -> Iterator[Claim]:
    for text, measured_on_it in groupby(claimed, key=lambda one: one.text):
        every = tuple(measured_on_it)
        try:
            windows = windows_for(models, text)
        except HfPruneError as error:
            yield from (unchecked(f"{name}, {one.variant}", one.perplexity, str(error)) for one in every)
            continue
        for one in every:
            label = f"{name}, {one.variant}"
            try:
                found = _measured_perplexity(models, windows, one.variant)
            except HfPruneError as error:
                yield unchecked(label, one.perplexity, str(error))
            except OverflowError:  # the loss of wrong weights can be too large to exponentiate
                yield near(label, one.perplexity, math.inf, models.tolerance)
            else:
                yield near(label, one.perplexity, found.perplexity, models.tolerance)


def _measured_perplexity(models: Models, windows: Windows, variant: str) -> Perplexity:
    """The perplexity of a variant; the cut is the original with the removed layers skipped.

    Raises:
        HfPruneError: its weights are not available.
    """
    if variant == models.run.result.variant:
        return perplexity(models.published.decoder, windows, variant, models.progress)
    original = _original(models, variant)
    if variant == DENSE:
        return perplexity(original, windows, variant, models.progress)
    kept = models.run.plan.kept
    layers = models.progress(kept, f"perplexity, {variant}", len(kept), "layer")
    states = run_layers(original, original.enter(windows.ids), layers)
    return of_losses(sequence_losses(original, states, windows.ids), windows, variant)


def _original(models: Models, variant: str) -> StreamedDecoder:
    """The original, which can stand for the variants "dense" and "cut".

    Raises:
        HfPruneError: the original is not available, or the variant is another one.
    """
    if variant not in (DENSE, "cut"):
        raise UnusableText(f"the weights of the {variant} variant are not published")
    if models.original is None:
        raise UnusableText(models.reason)
    decoder = models.original.decoder
    if not set(models.run.plan.kept) <= set(range(decoder.num_layers)):
        raise UnusableText(f"the original has {decoder.num_layers} layers, and the record keeps others")
    return decoder


def windows_for(models: Models, text: TextTokens) -> Windows:
    """The same tokens, or pixel values, that a figure was measured on.

    Raises:
        UnusableText: they are not available here.
    """
    material = find_material(text, models.run.dense.kind, models.data)
    asked = models.published.recipe
    recipe = replace(asked, eval_samples=text.num_sequences, sequence_length=text.sequence_length)
    windows = reading(models.published, material, recipe).heldout
    if windows.record.sha256 != text.sha256:
        raise UnusableText(
            f"{text.name} gives different tokens here (SHA-256 {windows.record.sha256[:12]}, "
            f"recorded {text.sha256[:12]})"
        )
    return windows


def find_material(text: TextTokens, kind: str, data: Path) -> Text | Images:
    """The text, or the images, of a name: those that come with hf-prune, else a file or folder in `data`.

    Raises:
        UnusableText: there are none of this name.
    """
    name = Path(text.name).name  # the record may be anyone's: it must not lead to another folder
    if kind == IMAGE_ENCODER:
        return recorded_heldout(data, name)
    if resources.files("hf_prune.stages.texts").joinpath(f"built_in/{name}.jsonl.gz").is_file():
        return calibration.built_in_text(name)
    if not (data / name).is_file():
        raise UnusableText(f"there is no {name} in {data}: name its folder with --data")
    return calibration.read_text(data / name)


def _depth_claims(models: Models) -> Iterator[Claim]:
    """The perplexities of each depth of a sorted model but the deepest, and of the original at that depth."""
    depths = models.run.evaluated.depths[:-1]
    if not depths:
        return
    numbers = [depth.layers for depth in depths]
    for label, decoder, claimed in (
        ("of its own", models.published, [depth.perplexity for depth in depths]),
        ("of the original", models.original, [depth.truncated for depth in depths]),
    ):
        names = [f"perplexity, first {number} layers {label}" for number in numbers]
        try:
            if decoder is None:
                raise UnusableText(models.reason)
            windows = windows_for(models, claimed[0].text)
            found = perplexities_by_depth(decoder.decoder, windows, numbers, label, models.progress)
        except HfPruneError as error:
            pairs = zip(names, claimed, strict=True)
            yield from (unchecked(name, one.perplexity, str(error)) for name, one in pairs)
            continue
        for name, one, other in zip(names, claimed, found, strict=True):
            yield near(name, one.perplexity, other.perplexity, models.tolerance)


def _agreement_claims(models: Models) -> Iterator[Claim]:
    """The cosine of an encoder's final states to the original's."""
    for claimed in models.run.evaluated.agreements:
        name = f"cosine to the original, {claimed.variant}"
        try:
            if claimed.variant != models.run.result.variant:
                raise UnusableText(f"the weights of the {claimed.variant} variant are not published")
            original = _original(models, DENSE)
            windows = windows_for(models, claimed.text)
            shorter = models.published.decoder
            found = agreement(original, shorter, windows, claimed.variant, models.progress)
        except HfPruneError as error:
            yield unchecked(name, claimed.cosine, str(error))
        else:
            words = f"{COSINE_DIFFERENCE:g}"
            yield within(name, claimed.cosine, found.cosine, COSINE_DIFFERENCE, words)


def _choice_claims(models: Models) -> Iterator[Claim]:
    run = models.run
    if not run.evaluated.choices or run.dense.kind != DECODER:
        return
    claimed = {choices.variant: choices for choices in run.evaluated.choices}
    try:
        items = _items(models, run.evaluated.choices[0])
    except HfPruneError as error:
        yield from (unchecked(f"accuracy, {v}", c.accuracy, str(error)) for v, c in claimed.items())
        return
    answers = {}
    for variant, choices in claimed.items():
        try:
            published = variant == run.result.variant
            if not published and variant != DENSE:
                raise UnusableText(f"the weights of the {variant} variant are not published")
            decoder = models.published.decoder if published else _original(models, variant)
        except HfPruneError as error:
            yield unchecked(f"accuracy, {variant}", choices.accuracy, str(error))
            continue
        answers[variant] = answer(decoder, items, variant, models.progress)
        found = compare(items, variant, answers[variant], answers.get(DENSE, answers[variant]))
        yield from _compared(choices, found, models.reason)


def _compared(claimed: Choices, found: Choices, reason: str) -> Iterator[Claim]:
    """Accuracy, agreement and stability; `reason` says why the original was not asked."""
    variant, count = claimed.variant, claimed.num_items
    few = max(1, round(ITEMS_SHARE * count))
    words = f"{few} of {count} items"
    yield within(f"accuracy, {variant}", claimed.accuracy, found.accuracy, few / count, words)
    for name, one, other, items in (
        ("agreement", claimed.agreement, found.agreement, count),
        ("stability", claimed.stability, found.stability, claimed.stability_items or count),
    ):
        share = 2 * few / items  # either model may answer differently
        if one is not None and other is not None:
            yield within(f"{name}, {variant}", one, other, share, f"{2 * few} of {items:.0f} items")
        elif one is not None:
            yield unchecked(f"{name}, {variant}", one, reason)


def _items(models: Models, claimed: Choices) -> Items:
    """The same items that the record was measured on.

    Raises:
        HfPruneError: they are not available here.
    """
    recipe = models.published.recipe
    if recipe.choices is not None:
        path = models.data / Path(recipe.choices).name
        questions = read_questions(path, recipe.choice_items)
        items = items_of(reading(models.published, None, recipe, questions))
    else:
        text = next((one.text for one in models.run.evaluated.perplexities), None)
        if text is None:
            raise UnusableText("the record names no text that they were made from")
        material = find_material(text, DECODER, models.data)
        items = items_of(reading(models.published, material, recipe))
    if items.sha256 != claimed.sha256:
        raise UnusableText(f"{claimed.name} gives different items here")
    return items
