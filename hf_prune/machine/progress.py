"""How a stage reports progress, without knowing what a terminal is."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

Item = TypeVar("Item")


class Progress(Protocol):
    """Passes items through, and may show how many of `total` have passed."""

    def __call__(self, items: Iterable[Item], label: str, total: int, unit: str = "it") -> Iterator[Item]:
        """The items, unchanged."""
        ...


def silent(items: Iterable[Item], label: str, total: int, unit: str = "it") -> Iterator[Item]:
    """Show nothing."""
    return iter(items)


@dataclass(frozen=True)
class Reporter:
    """What a run shows its user: a progress bar for items, and lines."""

    progress: Progress = silent
    tell: Callable[[str], None] = lambda line: None
