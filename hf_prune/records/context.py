"""What is around a run: an estimate before it, the machine, the place on the Hub."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a run would do and take, before it is made; times are about right, on this machine."""

    model: str
    num_layers: int
    layers_removed: int | None  # None: a loss decides
    parameters: int
    parameters_left: int | None
    size_bytes: int
    size_bytes_left: int | None
    download_bytes: int
    disk_bytes: int  # for checkpoints, beside the download
    memory_bytes: int  # above what Python and its libraries take
    measuring_seconds: float
    choosing_seconds: float
    repairing_seconds: float
    evaluating_seconds: float
    healing_method: str  # what would be trained, as --heal names it; "none"
    healing_reason: str | None  # why it is this, or nothing, where that was not asked for
    healing_memory_bytes: int
    healing_seconds: float
    operations_per_second: float  # of this machine, tried out for a moment

    @property
    def seconds(self) -> float:
        """Of the whole run, without the download."""
        repairing = self.repairing_seconds + self.healing_seconds
        return self.measuring_seconds + self.choosing_seconds + repairing + self.evaluating_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """The work whose recipe a run followed."""

    title: str | None
    paper: str | None  # its arXiv number
    bibtex: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Presentation:
    """What a user put into a card beside what hf-prune says."""

    template_name: str | None = None  # of its file
    template: str | None = None  # in full; it overrides blocks of the built-in one
    notes: str | None = None  # in full, in Markdown


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Where and with what a run was made."""

    hf_prune: str
    python: str
    torch: str
    transformers: str
    platform: str
    processor: str
    device: str
    threads: int
    memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """Where a run went on the Hub."""

    repo_id: str
    url: str  # of the repository, or of its branch
    commit: str
    private: bool
    pull_request: str | None = None  # its address, where the run was proposed and not published
    unchanged: bool = False  # it was all there already: no commit was made

    @property
    def address(self) -> str:
        """Where to look at it."""
        return self.pull_request or self.url
