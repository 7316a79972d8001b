"""The figures of a card, measured again on the same text with some tolerance for rounding."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib import resources
from itertools import groupby
from pathlib import Path

from hf_prune.commands.verify.claims import Claim, Value, near, unchecked, within
from hf_prune.commands.verify.subject import reading
from hf_prune.errors import HfPruneError, UnusableText
from hf_prune.machine.progress import Progress
from hf_prune.records import DECODER, IMAGE_ENCODER, Agreement, Answer, Choices, Perplexity, TextTokens
from hf_prune.stages.evaluate.choices import answer
from hf_prune.stages.evaluate.depths import perplexities_by_depth
from hf_prune.stages.evaluate.items import Items, items_of
from hf_prune.stages.evaluate.perplexity import perplexity
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

    def model_of(self, variant: str) -> Original:
        """The model whose weights are those of a variant.

        Raises:
            UnusableText: its weights are not available.
        """
        if variant == self.run.result.variant:
            return self.published
        if variant != DENSE:
            raise UnusableText(f"the weights of the {variant} variant are not published")
        if self.original is None:
            raise UnusableText(self.reason)
        num_layers = self.original.decoder.num_layers
        if not set(self.run.plan.kept) <= set(range(num_layers)):
            raise UnusableText(f"the original has {num_layers} layers, and the record keeps others")
        return self.original


def checked(measure: Callable[[], Iterable[Claim]], claimed: Mapping[str, Value]) -> list[Claim]:
    """The claims that `measure` gives. If it cannot, none of the claimed values is checked."""
    try:
        return list(measure())
    except HfPruneError as error:
        return [unchecked(name, value, str(error)) for name, value in claimed.items()]


def figure_claims(models: Models) -> Iterator[Claim]:
    """Measure every figure of the record again, but for the harness's scores: see `scores`."""
    evaluated = models.run.evaluated
    for name, claimed in (
        ("perplexity", evaluated.perplexities),
        ("perplexity elsewhere", evaluated.perplexities_elsewhere),
    ):
        for text, on_text in groupby(claimed, key=lambda one: one.text):
            windows = cache(partial(windows_for, models, text))
            for one in on_text:
                label = f"{name}, {one.variant}"
                measure = partial(_perplexity_claim, models, label, one, windows)
                yield from checked(measure, {label: one.perplexity})
    yield from _depth_claims(models)
    for cosine in evaluated.agreements:
        name = f"cosine to the original, {cosine.variant}"
        yield from checked(partial(_agreement_claim, models, name, cosine), {name: cosine.cosine})
    yield from _choice_claims(models)


def not_measured(run: Run) -> Iterator[Claim]:
    """The figures that are not measured again, because they depend on the machine."""
    machine = "it depends on the machine, so it is not measured again"
    tokens = "on another machine one different token changes all tokens after it"
    for name, figures, reason in (
        ("speed and memory", run.evaluated.speeds.found, machine),
        ("drafts", run.evaluated.speculations.found, machine),
        ("writing", run.evaluated.writings.found, tokens),
    ):
        if figures:
            yield unchecked(name, f"{len(figures)} figures", reason)


def _perplexity_claim(
    models: Models, label: str, claimed: Perplexity, windows: Callable[[], Windows]
) -> Iterator[Claim]:
    """The perplexity of a variant. The cut is the original with the removed layers skipped."""
    variant, text = claimed.variant, windows()
    is_skipped = variant == "cut" and models.run.result.variant != "cut"
    decoder = models.model_of(DENSE if is_skipped else variant).decoder
    layers = models.run.plan.kept if is_skipped else None
    try:
        found = perplexity(decoder, text, variant, models.progress, layers).perplexity
    except OverflowError:  # the loss of wrong weights can be too large to exponentiate
        found = math.inf
    yield near(label, claimed.perplexity, found, models.tolerance)


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


def _agreement_claim(models: Models, name: str, claimed: Agreement) -> Iterator[Claim]:
    """The cosine of an encoder's final states to the original's."""
    if claimed.variant != models.run.result.variant:
        raise UnusableText(f"the weights of the {claimed.variant} variant are not published")
    original, shorter = models.model_of(DENSE).decoder, models.published.decoder
    windows = windows_for(models, claimed.text)
    found = agreement(original, shorter, windows, claimed.variant, models.progress)
    yield within(name, claimed.cosine, found.cosine, COSINE_DIFFERENCE, f"{COSINE_DIFFERENCE:g}")


def _choice_claims(models: Models) -> Iterator[Claim]:
    every = models.run.evaluated.choices
    if not every or models.run.dense.kind != DECODER:
        return
    items = cache(partial(_items, models, every[0]))
    answers: dict[str, tuple[Answer, ...]] = {}
    for claimed in every:
        measure = partial(_compared, models, claimed, items, answers)
        yield from checked(measure, {f"accuracy, {claimed.variant}": claimed.accuracy})


def _compared(
    models: Models, claimed: Choices, items_here: Callable[[], Items], answers: dict[str, tuple[Answer, ...]]
) -> Iterator[Claim]:
    """Accuracy, agreement and stability of a variant, whose answers are added to `answers`."""
    variant, count, asked = claimed.variant, claimed.num_items, items_here()
    own = answer(models.model_of(variant).decoder, asked, variant, models.progress)
    answers[variant] = own
    found = compare(asked, variant, own, answers.get(DENSE, own))
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
            yield unchecked(f"{name}, {variant}", one, models.reason)


def _items(models: Models, claimed: Choices) -> Items:
    """The same items that the record was measured on.

    Raises:
        HfPruneError: they are not available here.
    """
    recipe = models.published.recipe
    questions, material = None, None
    if recipe.choices is not None:
        questions = read_questions(models.data / Path(recipe.choices).name, recipe.choice_items)
    elif models.run.evaluated.perplexities:
        material = find_material(models.run.evaluated.perplexities[0].text, DECODER, models.data)
    else:
        raise UnusableText("the record names no text that they were made from")
    items = items_of(reading(models.published, material, recipe, questions))
    if items.sha256 != claimed.sha256:
        raise UnusableText(f"{claimed.name} gives different items here")
    return items
