"""The context of a run: its estimate, its machine, the user's words on the card, its repository."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a run would do and need. The times are rough, for this machine."""

    model: str
    num_layers: int
    layers_removed: int | None  # None: a limit on the loss decides
    parameters: int
    parameters_left: int | None
    size_bytes: int
    size_bytes_left: int | None
    download_bytes: int
    disk_bytes: int  # for checkpoints, in addition to the download
    memory_bytes: int  # in addition to Python and its libraries
    measuring_seconds: float
    choosing_seconds: float
    repairing_seconds: float
    evaluating_seconds: float
    healing_method: str  # as for --heal; "none": nothing would be trained
    healing_reason: str | None  # why this method was chosen; None: the user chose it
    healing_memory_bytes: int
    healing_seconds: float
    operations_per_second: float  # of this machine, from a short trial

    @property
    def seconds(self) -> float:
        """The time of the whole run without the download."""
        repairing = self.repairing_seconds + self.healing_seconds
        return self.measuring_seconds + self.choosing_seconds + repairing + self.evaluating_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """The paper or model whose recipe a run followed."""

    title: str | None
    paper: str | None  # its arXiv number
    bibtex: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Presentation:
    """The user's own words on a card."""

    template_name: str | None = None  # of its file
    template: str | None = None  # in full; it overrides blocks of the built-in one
    notes: str | None = None  # in full, in Markdown


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The machine and the software of a run."""

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
    """The published result of a run on the Hub."""

    repo_id: str
    url: str  # of the repository, or of its branch
    commit: str
    private: bool
    pull_request: str | None = None  # its address, if the result was proposed and not published
    unchanged: bool = False  # the repository already had this result, so no commit was made

    @property
    def address(self) -> str:
        """The address to open: the pull request or the repository."""
        return self.pull_request or self.url
