"""The terminal: the result on stdout, everything else on stderr."""

from hf_prune.cli.console.analysis import show_analysis
from hf_prune.cli.console.estimate import show_estimate
from hf_prune.cli.console.evaluation import show_evaluation
from hf_prune.cli.console.jobs import show_job, show_planned, show_scheduled, show_unchanged
from hf_prune.cli.console.run import show, show_card, show_extracted, show_published
from hf_prune.cli.console.terminal import quieten_libraries, reporter, tell
from hf_prune.cli.console.verification import show_verification

__all__ = [
    "quieten_libraries",
    "reporter",
    "show",
    "show_analysis",
    "show_card",
    "show_estimate",
    "show_evaluation",
    "show_extracted",
    "show_job",
    "show_planned",
    "show_published",
    "show_scheduled",
    "show_unchanged",
    "show_verification",
    "tell",
]
