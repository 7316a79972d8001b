"""The figures of a card, measured again: on the same text, by the same code, with some leave for rounding."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from importlib import resources
from itertools import groupby
from pathlib import Path

from hf_prune.commands.verify.claims import Claim, near, unchecked, within
from hf_prune.commands.verify.subject import NOTHING, reading
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
from hf_prune.stages.texts import images
from hf_prune.stages.texts import text as calibration
from hf_prune.stages.texts.images import Images
from hf_prune.stages.texts.questions import read_questions
from hf_prune.stages.texts.text import Text
from hf_prune.stages.texts.windows import Windows

# How far the same weights may come out on another machine: docs/verify.md has what was measured.
PERPLEXITY_SHARE = {"float32": 0.0005}  # of what is stored in full precision
PERPLEXITY_SHARE_ROUNDED = 0.005  # of what is computed in 16 bits
COSINE_DIFFERENCE = 0.002
ITEMS_SHARE = 0.03  # of the items may go the other way, and one at least
DRAWN = {"drawn_heldout": images.DRAWN_HELDOUT, "drawn_calibration": images.DRAWN_CALIBRATION}


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """What is measured: the published model and, where it is to be had, its original."""

    run: Run
    published: Original
    original: Original | None
    reason: str  # why there is no original
    data: Path  # the folder with texts that do not come with hf-prune
    progress: Progress

    @property
    def leave(self) -> float:
        """The share by which a perplexity may differ."""
        full = str(self.published.decoder.dtype).removeprefix("torch.")
        return PERPLEXITY_SHARE.get(full, PERPLEXITY_SHARE_ROUNDED)


def figure_claims(models: Models) -> Iterator[Claim]:
    """Every figure of the record that this package measures, again; the harness's are in `scores`."""
    run = models.run
    yield from _perplexity_claims(models, "perplexity", run.evaluated.perplexities)
    yield from _perplexity_claims(models, "perplexity elsewhere", run.evaluated.perplexities_elsewhere)
    yield from _depth_claims(models)
    yield from _agreement_claims(models)
    yield from _choice_claims(models)


def not_measured(run: Run) -> Iterator[Claim]:
    """What is not measured again: it depends on the machine."""
    machine = "this depends on the machine, and is not measured again"
    rows = {
        "speed and memory": (run.evaluated.speeds.found, machine),
        "drafts": (run.evaluated.speculations.found, machine),
        "writing": (
            run.evaluated.writings.found,
            "one token chosen otherwise on another machine changes all after it",
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
            except OverflowError:  # e to the loss of weights that are not what they should be
                yield near(label, one.perplexity, math.inf, models.leave)
            else:
                yield near(label, one.perplexity, found.perplexity, models.leave)


def _measured_perplexity(models: Models, windows: Windows, variant: str) -> Perplexity:
    """The perplexity of a variant whose weights are here: the cut is the original without those layers.

    Raises:
        HfPruneError: the weights cannot be had.
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
    """The original, to measure itself or the cut by.

    Raises:
        HfPruneError: it is not here, or the variant is none that it holds.
    """
    if variant not in (DENSE, "cut"):
        raise UnusableText(f"the weights of what was {variant} are not published")
    if models.original is None:
        raise UnusableText(models.reason)
    decoder = models.original.decoder
    if not set(models.run.plan.kept) <= set(range(decoder.num_layers)):
        raise UnusableText(f"the original has {decoder.num_layers} layers, not those that are kept")
    return decoder


def windows_for(models: Models, text: TextTokens) -> Windows:
    """The very tokens, or pixel values, that a figure was measured on.

    Raises:
        UnusableText: they cannot be had here.
    """
    material = find_material(text, models.run.dense.kind, models.data)
    asked = models.published.recipe
    recipe = replace(asked, eval_samples=text.num_sequences, sequence_length=text.sequence_length)
    windows = reading(models.published, material, recipe).heldout
    if windows.record.sha256 != text.sha256:
        raise UnusableText(
            f"{text.name} gives other tokens here than it did (SHA-256 {windows.record.sha256[:12]}, "
            f"recorded {text.sha256[:12]})"
        )
    return windows


def find_material(text: TextTokens, kind: str, data: Path) -> Text | Images:
    """The text, or the images, of a name: those that come with hf-prune, else a file or folder in `data`.

    Raises:
        UnusableText: there are none of this name.
    """
    name = Path(text.name).name  # a record that others wrote leads to no other folder
    if kind == IMAGE_ENCODER:
        return images.drawn_images(name, DRAWN[name]) if name in DRAWN else images.read_images(data / name)
    if resources.files("hf_prune.stages.texts").joinpath(f"built_in/{name}.jsonl.gz").is_file():
        return calibration.built_in_text(name)
    if not (data / name).is_file():
        raise UnusableText(f"there is no {name} in {data}: name its folder with --data")
    return calibration.read_text(data / name)


def _depth_claims(models: Models) -> Iterator[Claim]:
    """Of a sorted model each depth but the deepest, which is the whole model; of its original too."""
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
            yield near(name, one.perplexity, other.perplexity, models.leave)


def _agreement_claims(models: Models) -> Iterator[Claim]:
    """Of an encoder: how near its final states are to the original's."""
    for claimed in models.run.evaluated.agreements:
        name = f"cosine to the original, {claimed.variant}"
        try:
            if claimed.variant != models.run.result.variant:
                raise UnusableText(f"the weights of what was {claimed.variant} are not published")
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
                raise UnusableText(f"the weights of what was {variant} are not published")
            decoder = models.published.decoder if published else _original(models, variant)
        except HfPruneError as error:
            yield unchecked(f"accuracy, {variant}", choices.accuracy, str(error))
            continue
        answers[variant] = answer(decoder, items, variant, models.progress)
        found = compare(items, variant, answers[variant], answers.get(DENSE, answers[variant]))
        yield from _compared(choices, found, models.reason)


def _compared(claimed: Choices, found: Choices, reason: str) -> Iterator[Claim]:
    """Accuracy, and agreement and stability where the original answered too; `reason` says why it did not."""
    variant, count = claimed.variant, claimed.num_items
    few = max(1, round(ITEMS_SHARE * count))
    words = f"{few} of {count} items"
    yield within(f"accuracy, {variant}", claimed.accuracy, found.accuracy, few / count, words)
    for name, one, other, items in (
        ("agreement", claimed.agreement, found.agreement, count),
        ("stability", claimed.stability, found.stability, claimed.stability_items or count),
    ):
        share = 2 * few / items  # either of two models may answer otherwise
        if one is not None and other is not None:
            yield within(f"{name}, {variant}", one, other, share, f"{2 * few} of {items:.0f} items")
        elif one is not None:
            yield unchecked(f"{name}, {variant}", one, reason)


def _items(models: Models, claimed: Choices) -> Items:
    """The very items that were asked.

    Raises:
        HfPruneError: they cannot be had here.
    """
    recipe = models.published.recipe
    if recipe.choices is not None:
        path = models.data / Path(recipe.choices).name
        questions = read_questions(path, recipe.choice_items)
        items = items_of(reading(models.published, NOTHING, recipe, questions))
    else:
        text = next((one.text for one in models.run.evaluated.perplexities), None)
        if text is None:
            raise UnusableText("no text is recorded that they were made from")
        material = find_material(text, DECODER, models.data)
        items = items_of(reading(models.published, material, recipe))
    if items.sha256 != claimed.sha256:
        raise UnusableText(f"{claimed.name} gives other items here than it did")
    return items
