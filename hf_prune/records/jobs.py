"""Hugging Face Jobs: machines, the specification of a job, started jobs and schedules."""

from collections.abc import Mapping
from dataclasses import dataclass, field

IMAGE = "ghcr.io/astral-sh/uv:python3.12-bookworm"  # with Python, uv and git; the default of `hf jobs uv run`
TIMEOUT = "6h"  # the Hub's default of 30 minutes is too short for most runs
PUBLISHES = "publishes"  # a label: schedules for a repository are found by it


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A flavor of Hugging Face Jobs."""

    flavor: str
    parts: str  # "4 vCPU, 15 GB, 1 x Nvidia A10G (24 GB)"
    gpus: int
    price: float | None  # dollars per hour; None: the Hub names it in an unknown unit

    def __str__(self) -> str:
        """The machine and its price, in one line."""
        price = "price unknown" if self.price is None else f"${self.price:.2f} an hour"
        return f"{self.flavor}: {self.parts}, {price}"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """Everything that a job is started with, except its secrets."""

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
        """The id that the commands of `hf jobs` take."""
        return f"{self.owner}/{self.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """What starts a job: a clock, or a change of the original."""

    id: str
    by: str  # "0 3 * * 1", or "changes of acme/base"
    webhook: bool = False
    namespace: str | None = None  # of a schedule by the clock; None: the user's own

    @property
    def removal(self) -> str:
        """The command of huggingface_hub that ends it."""
        where = f" --namespace {self.namespace}" if self.namespace else ""
        return f"hf {'webhooks' if self.webhook else 'jobs scheduled'} delete {self.id}{where}"
