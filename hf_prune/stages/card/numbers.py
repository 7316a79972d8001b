"""Figures and words for the card: how they are rounded, and how Markdown can hold them."""

import math
import re
from collections.abc import Sequence

from hf_prune.records import Choices, Perplexity, TaskScore, Writing
from hf_prune.records.numbers import figure

# Metrics of lm-evaluation-harness that are shares of one. Others, like BLEU, are printed unchanged.
SHARES = {"acc", "acc_norm", "acc_mutual_info", "exact_match", "contains", "em", "mc1", "mc2", "pass@1"}
SHARES |= {"prompt_level_strict_acc", "prompt_level_loose_acc"}
SHARES |= {"inst_level_strict_acc", "inst_level_loose_acc"}


def grouped(value: int) -> str:
    """A whole number, exact: 299,520."""
    return f"{value:,}"


def sentence(text: str) -> str:
    """Text with a capital first letter."""
    return text[:1].upper() + text[1:]


def series(items: Sequence[object]) -> str:
    """Items in a sentence: 12, 16 and 20."""
    *first, last = map(str, items)
    return f"{', '.join(first)} and {last}" if first else last


def with_error(measured: Perplexity) -> str:
    """Perplexity and its standard error, by the delta method: 43.2 ± 1.2.

    The error of exp(loss) is the error of the loss times exp(loss). A single sequence has no error.
    """
    error = measured.perplexity * measured.loss_stderr
    if measured.text.num_sequences < 2 or error == 0:
        return figure(measured.perplexity)
    if measured.perplexity >= 1e6:
        return f"{measured.perplexity:.3g} ± {error:.2g}"
    digits = min(max(1 - math.floor(math.log10(error)), 0), 4)
    return f"{measured.perplexity:.{digits}f} ± {error:.{digits}f}"


def change(after: float, before: float) -> str:
    """The change from `before` to `after`: -21 %."""
    percent = 100 * (after / before - 1)
    return f"{percent:+.0f} %" if abs(percent) >= 9.5 else f"{percent:+.1f} %"


def percent(share: float) -> str:
    """A share of one: 65.6 %."""
    return f"{100 * share:.1f} %"


def accuracy(choices: Choices) -> str:
    """Accuracy and its standard error: 65.6 ± 6.0 %. One item, or all answered alike, has no error."""
    error = f" ± {100 * choices.accuracy_stderr:.1f}" if choices.accuracy_stderr else ""
    return f"{100 * choices.accuracy:.1f}{error} %"


def scored(score: TaskScore) -> str:
    """A figure of a task and its standard error, if it has one: 61.2 ± 1.5 %."""
    if score.metric in SHARES:
        error = f" ± {100 * score.stderr:.1f}" if score.stderr else ""
        return f"{100 * score.value:.1f}{error} %"
    return figure(score.value) + (f" ± {score.stderr:.2g}" if score.stderr else "")


def repeated(writing: Writing) -> str:
    """The share of repeated 4-grams and its standard error: 12.5 ± 3.1 %. A single text has no error."""
    error = f" ± {100 * writing.repetition_stderr:.1f}" if writing.num_texts > 1 else ""
    return f"{100 * writing.repetition:.1f}{error} %"


def ratio(value: float) -> str:
    """A factor: 1.41."""
    return f"{value:.2f}" if value < 100 else figure(value)


def spread(ends: Sequence[float]) -> str:
    """The range of several runs: 30.2 to 32.4."""
    return f"{figure(ends[0])} to {figure(ends[1])}"


def code(text: str) -> str:
    """Text as inline code in Markdown, whatever it contains."""
    fence = _backticks(text, at_least=1)
    padding = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{padding}{text}{padding}{fence}"


def cell(text: str) -> str:
    """Text that a Markdown table can hold."""
    return " ".join(text.split()).replace("|", "\\|")


def fenced(text: str) -> str:
    """Text as a block of code in Markdown, whatever it contains."""
    fence = _backticks(text, at_least=3)
    return f"{fence}text\n{text.strip()}\n{fence}"


def _backticks(text: str, at_least: int) -> str:
    """One backtick more than any run of them in the text."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    return "`" * max(at_least, longest + 1)
