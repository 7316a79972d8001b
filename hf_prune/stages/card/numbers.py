"""Figures and words as people read them, and as Markdown can hold them."""

import math
import re
from collections.abc import Sequence

from hf_prune.records import Choices, Perplexity, TaskScore, Writing

# Metrics of lm-evaluation-harness that are shares of one; others, as BLEU, are printed as they are.
SHARES = {"acc", "acc_norm", "acc_mutual_info", "exact_match", "contains", "em", "mc1", "mc2", "pass@1"}
SHARES |= {"prompt_level_strict_acc", "prompt_level_loose_acc"}
SHARES |= {"inst_level_strict_acc", "inst_level_loose_acc"}


def count(value: float) -> str:
    """A number of things: 134.5M."""
    return _scaled(value, ("", "k", "M", "B", "T"), 4)


def size(num_bytes: float) -> str:
    """Bytes in decimal units: 269 MB."""
    return _scaled(num_bytes, (" B", " kB", " MB", " GB", " TB"), 3)


def _scaled(value: float, units: tuple[str, ...], digits: int) -> str:
    for unit in units[:-1]:
        rounded = float(f"{value:.{digits}g}")  # 999.96M is 1B, not 1000M
        if rounded < 1000:
            return f"{rounded:g}{unit}"
        value /= 1000
    return f"{value:.{digits}g}{units[-1]}"


def figure(value: float) -> str:
    """A measured figure in three or four digits: 43.2."""
    if value == 0:
        return "0"
    digits = 2 - math.floor(math.log10(abs(value)))
    return f"{value:.{min(max(digits, 0), 4)}f}" if abs(value) < 1e6 else f"{value:.3g}"


def grouped(value: int) -> str:
    """A whole number, exact: 299,520."""
    return f"{value:,}"


def sentence(text: str) -> str:
    """Words as a sentence begins."""
    return text[:1].upper() + text[1:]


def series(things: Sequence[object]) -> str:
    """Things one after the other: 12, 16 and 20."""
    *first, last = map(str, things)
    return f"{', '.join(first)} and {last}" if first else last


def with_error(measured: Perplexity) -> str:
    """Perplexity and its standard error, by the delta method: 43.2 ± 1.2.

    The error of exp(loss) is that of the loss times exp(loss). One sequence has none.
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
    """Accuracy and its standard error: 65.6 ± 6.0 %. A single item has none, nor have equal ones."""
    error = f" ± {100 * choices.accuracy_stderr:.1f}" if choices.accuracy_stderr else ""
    return f"{100 * choices.accuracy:.1f}{error} %"


def scored(score: TaskScore) -> str:
    """A figure of a task and its standard error, where it has one: 61.2 ± 1.5 %."""
    if score.metric in SHARES:
        error = f" ± {100 * score.stderr:.1f}" if score.stderr else ""
        return f"{100 * score.value:.1f}{error} %"
    return figure(score.value) + (f" ± {score.stderr:.2g}" if score.stderr else "")


def repeated(writing: Writing) -> str:
    """The share of repeated runs and its standard error: 12.5 ± 3.1 %. A single text has none."""
    error = f" ± {100 * writing.repetition_stderr:.1f}" if writing.num_texts > 1 else ""
    return f"{100 * writing.repetition:.1f}{error} %"


def ratio(value: float) -> str:
    """How many times: 1.41."""
    return f"{value:.2f}" if value < 100 else figure(value)


def spread(ends: Sequence[float]) -> str:
    """The least and the most of several runs: 30.2 to 32.4."""
    return f"{figure(ends[0])} to {figure(ends[1])}"


def duration(seconds: float) -> str:
    """Seconds as people say them: 3 min 41 s."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def code(text: str) -> str:
    """Text as Markdown code, whatever it holds."""
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    padding = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{padding}{text}{padding}{fence}"


def cell(text: str) -> str:
    """Text that a Markdown table can hold."""
    return " ".join(text.split()).replace("|", "\\|")


def fenced(text: str) -> str:
    """Text as a block of Markdown code, whatever it holds."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}text\n{text.strip()}\n{fence}"
