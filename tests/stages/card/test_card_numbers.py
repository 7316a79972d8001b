"""Every number that a card says is in the record of its run, after the rounding that the card does."""

import json
import re
import statistics
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hf_prune.records import DECODER, numbers, to_json
from hf_prune.stages.card import numbers as figures
from hf_prune.stages.card.card import render_card
from hf_prune.stages.card.encoder_card import render_encoder_card
from hf_prune.stages.card.losses import hardest_hit, rises
from hf_prune.stages.card.shared import CACHED_TOKENS
from hf_prune.stages.card.templates import NO_BREAK
from hf_prune.stages.run import Run
from tests.support.sample_cards import RUNS, healed_run
from tests.support.sample_run import sample_encoder_run

NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?")
FIXED = (  # words with a digit in them
    "numbered from 0 ",
    "numbers its layers from 0",
    "0 is the same direction, 0.5 orthogonal",
    "Position 0",
    "as in layer 0",
    "more than ln 2",
    "SHA-256",
    "in 4 bits",
    "8 bits",
    f"for {CACHED_TOKENS} tokens",
    "1 is the same direction",
    "from 0 to",  # of a scale of colours, which begins there
)
MEASURED = ("angular_last_token", "angular_all_tokens", "cosine_all_tokens", "layer_scores")
RUNS = [*RUNS, sample_encoder_run]


def words(text: str) -> str:
    """What a card says: no metadata, no code, no addresses, no names that hold digits."""
    text = re.sub(r"^(`{3,}).*?^\1$", "", text.split("\n---\n", 1)[1], flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"(`+)(?!`).+?(?<!`)\1(?!`)", "", text)
    text = re.sub(r"(?<!!)\[[^\]]*\]\((https://(arxiv\.org|docs\.vllm)[^)]*)\)", "", text)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    for fixed in FIXED:
        text = text.replace(fixed, "")
    return text


def unknown_numbers(text: str, run: Run) -> list[str]:
    """The numbers of a card that its run does not have."""
    for name in (run.name, run.source.repo_id or run.name):
        text = text.replace(name, "")
    known = known_numbers(run)
    return [number for number in NUMBER.findall(words(text)) if number not in known]


def known_numbers(run: Run) -> set[str]:
    """Every number that a card of this run may say, as it is printed."""
    content = json.loads(to_json(run))
    similarity = content["similarity"]
    largest = max(value for row in similarity["angular_last_token"] for value in row)
    for matrix in MEASURED:
        del similarity[matrix]
    return {
        number
        for printed in [*_strings(content), *_printed(content), *_derived(run), numbers.figure(largest)]
        for number in NUMBER.findall(printed)
    }


def _strings(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    for value in (
        content.values() if isinstance(content, dict) else content if isinstance(content, list) else ()
    ):
        yield from _strings(value)


def _printed(content: Any) -> Iterator[str]:
    """Every number of the record in every form that a card may give it."""
    if isinstance(content, dict | list):
        for value in content.values() if isinstance(content, dict) else content:
            yield from _printed(value)
        if isinstance(content, list):
            yield str(len(content))
    elif isinstance(content, float):
        yield from (f"{content:.3f}", f"{content:.4f}", numbers.figure(content), str(content))
        if 0 <= content <= 1:
            yield f"{100 * content:.1f}"
    elif isinstance(content, int) and not isinstance(content, bool):
        yield from (str(content), f"{content:,}", numbers.count(content), numbers.byte_size(content))


def _derived(run: Run) -> Iterator[str]:
    """What the card reckons from numbers of the record."""
    yield from (numbers.duration(run.seconds), numbers.duration(run.healing.seconds))
    yield figures.change(run.result.parameters, run.dense.parameters)
    texts = [*run.evaluated.perplexities, *run.evaluated.perplexities_elsewhere]
    texts += [each for depth in run.evaluated.depths for each in (depth.truncated, depth.perplexity)]
    yield from map(figures.with_error, texts)
    variants = ["dense", *(each.variant for each in (*run.evaluated.perplexities, *run.evaluated.agreements))]
    for anatomy in map(run.anatomy_of, variants):
        yield from (
            numbers.count(anatomy.parameters),
            numbers.byte_size(anatomy.size_bytes),
            str(anatomy.num_layers),
        )
        yield numbers.byte_size((anatomy.key_value_bytes_per_token or 0) * CACHED_TOKENS)
    yield numbers.byte_size(run.result_anatomy.size_bytes - run.before_healing.size_bytes)
    yield numbers.count(run.result_anatomy.parameters - run.before_healing.parameters)
    for rise in rises(texts, run.result.variant):
        yield from (figures.ratio(rise.times), numbers.figure(rise.times))
        yield f"{rise.after.loss - rise.before.loss:+.3f}"
    if run.before is not None:
        yield from map(figures.scored, run.before.scores)
        yield from map(figures.with_error, filter(None, [run.before.perplexity]))
    for generates in (False, True):
        hit = hardest_hit(run.evaluated.scores.found, run.result.variant, generates=generates)
        yield from (figures.percent(hit.worst.left), str(hit.num_figures), str(hit.num_clear)) if hit else ()
    yield from (figures.scored(score) for score in run.evaluated.scores.found)
    for found in run.evaluated.speculations.found:
        yield from map(numbers.figure, (found.acceptance_rate, found.tokens_per_verification, found.speed_up))
    yield from (str(block) for block in run.plan.blocks)
    yield str(run.plan.num_layers - 1)
    if run.growth is not None:
        yield from _of_growth(run)


def _of_growth(run: Run) -> Iterator[str]:
    assert run.growth is not None
    inside = run.plan.kept[run.growth.shallow.start : run.growth.shallow.end]
    half = inside[-1] + 1
    yield from (str(inside[-1]), str(half))
    for losses in (run.growth.removal_losses, run.growth.expansion_losses):
        yield from (f"{statistics.fmean(part):.3f}" for part in (losses[:half], losses[half:]) if part)


def rendered(run: Run) -> str:
    render = render_card if run.dense.kind == DECODER else render_encoder_card
    return render(run).replace(NO_BREAK, " ")


@pytest.mark.parametrize("make", RUNS, ids=[make.__name__ for make in RUNS])
def test_no_number_of_a_card_is_absent_from_its_run(make: Callable[[], Run]) -> None:
    run = make()
    assert unknown_numbers(rendered(run), run) == []


@pytest.mark.parametrize(
    ("true", "false"),
    [
        ("20.12 ± 0.45", "20.13 ± 0.45"),
        ("text is 28.4", "text is 28.5"),
        ("1.41 times", "1.42 times"),
        ("(-21 %)", "(-34 %)"),
        ("106.2M", "106.3M"),
        ("28.7 ± 0.9 %", "28.6 ± 0.9 %"),
        ("first 9.38 of", "first 9.83 of"),
        ("431 MB", "413 MB"),
        ("0.0068", "0.0069"),
        ("299,008", "298,008"),
        ("3 min 41 s", "3 min 59 s"),
        ("0.187 |", "0.178 |"),
    ],
)
def test_a_number_that_was_altered_is_found(true: str, false: str) -> None:
    run = healed_run()
    text = rendered(run)
    assert true in text
    assert unknown_numbers(text.replace(true, false), run) != []


def test_hardly_any_altered_figure_passes_for_another() -> None:
    """The last digit of each figure with a decimal point is changed, one at a time."""
    run = healed_run()
    said = words(rendered(run))
    places = [match for match in NUMBER.finditer(said) if "." in match[0]]
    assert len(places) > 150
    altered = [f"{match[0][:-1]}{(int(match[0][-1]) + 3) % 10}" for match in places]
    known = known_numbers(run)
    missed = [number for number in altered if number in known]
    # Two digits are soon met by chance; of longer figures next to none may be.
    long = [number for number in altered if len(number) > 4]
    assert len(missed) < 0.25 * len(altered), missed
    assert len(set(missed) & set(long)) < 0.1 * len(long), missed
