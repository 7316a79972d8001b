"""The tournament: the cuts that were tried, and how far they are behind the winner."""

from collections.abc import Sequence
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation
from matplotlib.ticker import FuncFormatter, MaxNLocator

from hf_prune.records import Tournament, Trial
from hf_prune.records.numbers import short_number
from hf_prune.stages.card.plots.style import (
    BACKGROUND,
    BLUE,
    FONT_SIZE,
    GRID,
    INK,
    MUTED,
    WIDTH,
    add_legend,
    first_layers,
    first_names,
    new_figure,
    to_png,
)
from hf_prune.stages.choose.tournament import NEIGHBOUR

SHOWN = 12
ROW, HEAD, FOOT = 0.56, 0.98, 1.2  # inches
LEFT, GAP, RIGHT = 0.2, 0.35, 0.3  # inches
NAME_LENGTH = 42  # characters on the left for the layers of each trial and for who proposed it, at most
CHARACTER = 0.107  # inches, about the widest average in bold layer numbers and in names


def tournament(tournament: Tournament) -> bytes:
    """The best trials, the winner first, and how far behind it each is. There is one trial at least."""
    trials = tournament.trials[:SHOWN]
    names = [(first_layers(trial.removed, NAME_LENGTH), _proposers(trial)) for trial in trials]
    left = LEFT + CHARACTER * max(len(name) for pair in names for name in pair) + GAP
    height = HEAD + ROW * len(trials) + FOOT
    figure = new_figure(height)
    _headline(figure, tournament, len(trials))
    box = (left / WIDTH, FOOT / height, 1 - (left + RIGHT) / WIDTH, ROW * len(trials) / height)
    axes = figure.add_axes(box, facecolor=BACKGROUND)
    axes.set_ylim(len(trials) - 0.5, -0.5)
    axes.set_xlim(*_limits(trials))
    axes.set_yticks([])
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10], min_n_ticks=2))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))
    axes.tick_params(labelsize=FONT_SIZE, colors=INK)
    axes.grid(axis="x", color=GRID, linewidth=1)
    axes.set_axisbelow(True)
    axes.set_xlabel("loss behind the winner, nats per token", fontsize=FONT_SIZE, color=INK)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.axvline(0, color=INK, linewidth=1.5, zorder=1)
    for row, (trial, (layers, proposers)) in enumerate(zip(trials, names, strict=True)):
        _dot(axes, trial, row, trials[0].num_tokens)
        name = _write(axes, layers, row, LEFT - left, 1)
        name.set(fontsize=FONT_SIZE, color=INK, va="bottom", fontweight="normal" if row else "bold")
        _write(axes, proposers, row, LEFT - left, -2).set(fontsize=FONT_SIZE - 2, color=MUTED, va="top")
    add_legend(figure, _legend(trials))
    return to_png(figure)


def _headline(figure: Figure, tournament: Tournament, shown: int) -> None:
    height, count, winner = figure.get_figheight(), len(tournament.trials), tournament.trials[0]
    cuts = f"The best {shown} of {count} cuts" if count > shown else f"The {count} cuts"
    tried = "The one cut that was tried" if count == 1 else f"{cuts} that were tried"
    title = f"{tried}: layers removed, and who proposed it"
    losses = f"Loss of the winner {winner.loss:.3f}, of the original {tournament.original_loss:.3f}"
    bridges = f"; tried {'with' if winner.bridged else 'without'} bridges"
    figure.text(0.02, 1 - 0.16 / height, title, fontsize=FONT_SIZE + 2, color=INK, va="top")
    figure.text(0.02, 1 - 0.52 / height, losses + bridges, fontsize=FONT_SIZE, color=MUTED, va="top")


def _dot(axes: Axes, trial: Trial, row: int, all_tokens: int) -> None:
    axes.axhline(row, color=GRID, linewidth=1, zorder=0)
    axes.errorbar(
        [trial.behind],
        [row],
        xerr=[trial.behind_stderr] if trial.behind_stderr else None,
        fmt="o",
        markersize=10,
        color=BLUE,
        markerfacecolor=BLUE if trial.num_tokens == all_tokens else BACKGROUND,
        markeredgewidth=2,
        elinewidth=2.5,
        capsize=5,
    )


def _write(axes: Axes, text: str, row: int, from_left: float, raised: float) -> Annotation:
    """Text beside the axes: inches from their left end, and points above the middle of the row."""
    return axes.annotate(
        text,
        xy=(0, row),
        xycoords=axes.get_yaxis_transform(),
        xytext=(72 * from_left, raised),
        textcoords="offset points",
        annotation_clip=False,
    )


def _proposers(trial: Trial) -> str:
    names = ["neighbour of a leader" if name == NEIGHBOUR else name for name in trial.proposed_by]
    return first_names(names, NAME_LENGTH)


def _limits(trials: Sequence[Trial]) -> tuple[float, float]:
    low = min(trial.behind - trial.behind_stderr for trial in trials)
    high = max(trial.behind + trial.behind_stderr for trial in trials)
    margin = 0.05 * (high - low) or 0.1
    return low - margin, high + margin


def _legend(trials: Sequence[Trial]) -> list[Artist]:
    all_tokens = trials[0].num_tokens
    look: dict[str, Any] = {"color": BLUE, "marker": "o", "markersize": 9, "linestyle": "none"}
    hollow = {**look, "markerfacecolor": BACKGROUND, "markeredgewidth": 2}
    legend: list[Artist] = [Line2D([], [], label=f"tried on all {all_tokens} tokens", **look)]
    if any(trial.num_tokens < all_tokens for trial in trials):
        legend.append(Line2D([], [], label="left earlier", **hollow))
    if any(trial.behind_stderr for trial in trials):
        error = "\N{PLUS-MINUS SIGN} one standard error"
        legend.append(Line2D([], [], label=error, color=BLUE, linewidth=2.5))
    return legend
