"""Hugging Face Jobs: the machines, what a job is started with, and the jobs and schedules there are."""

from collections.abc import Mapping
from dataclasses import dataclass, field

IMAGE = "ghcr.io/astral-sh/uv:python3.12-bookworm"  # Python, uv and git, as `hf jobs uv run` has it
TIMEOUT = "6h"  # the Hub's own 30 minutes end most runs
PUBLISHES = "publishes"  # the label by which a schedule is found again


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A flavor of Hugging Face Jobs."""

    flavor: str
    parts: str  # "4 vCPU, 15 GB, 1 x Nvidia A10G (24 GB)"
    gpus: int
    price: float | None  # dollars an hour; None: in a unit that is not known here

    def __str__(self) -> str:
        """As it is told before it is paid for."""
        price = "price unknown" if self.price is None else f"${self.price:.2f} an hour"
        return f"{self.flavor}: {self.parts}, {price}"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """Everything that a job is started with but its secrets."""

    command: tuple[str, ...]
    flavor: str
    timeout: str
    name: str
    labels: Mapping[str, str]
    image: str = IMAGE
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job that was started."""

    id: str
    owner: str  # user or organisation
    url: str

    @property
    def full_id(self) -> str:
        """As the commands of `hf jobs` take it."""
        return f"{self.owner}/{self.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """What makes a run again: by the clock, or when the original changes."""

    id: str
    by: str  # "0 3 * * 1", or "changes of acme/base"
    webhook: bool
    namespace: str | None = None  # that a schedule by the clock is in; None: the user's own

    @property
    def removal(self) -> str:
        """The command of the Hub's own tool that ends it."""
        where = f" --namespace {self.namespace}" if self.namespace else ""
        return f"hf {'webhooks' if self.webhook else 'jobs scheduled'} delete {self.id}{where}"
