"""`hf-prune verify`: check every claim of a published model, the cheapest first."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from hf_prune.commands.verify.card import CARD, card_claims
from hf_prune.commands.verify.claims import Claim, Verification, broken, equal, listed, unchecked
from hf_prune.commands.verify.figures import Models, figure_claims, not_measured
from hf_prune.commands.verify.files import anatomy_claims, file_claims
from hf_prune.commands.verify.origin import KEPT, origin_claims, original_claims
from hf_prune.commands.verify.scores import score_claims
from hf_prune.commands.verify.subject import (
    Subject,
    Trust,
    fetch_original,
    find_subject,
    local_source,
    opened,
)
from hf_prune.errors import HfPruneError, first_line
from hf_prune.machine.clock import Clock
from hf_prune.machine.disk import sha256_of
from hf_prune.machine.environment import choose_device, describe_environment, free_memory
from hf_prune.machine.progress import Progress, Reporter
from hf_prune.model.activations import ActivationMemory
from hf_prune.model.skeleton import Skeleton, build_skeleton
from hf_prune.records.blocks import ranges
from hf_prune.stages.original import MEMORY_SHARE, Original
from hf_prune.stages.run import MARKER, SCHEMA_VERSION, Run


def verify(
    model: str,
    *,
    revision: str | None = None,
    base: str | None = None,
    data: Path | None = None,
    measure: bool = True,
    device: str = "auto",
    max_memory: int | None = None,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    reporter: Reporter | None = None,
) -> Verification:
    """Check what the card of a published model claims.

    Args:
        model: a Hub id, a run folder, or a folder that holds what was published.
        base: the original, a folder or a Hub id; None: the commit that the record names.
        data: a folder with your texts; None: the current folder.
        measure: whether to measure figures again.
        max_memory: bytes for hidden states; None: half of the free memory.

    Returns:
        Each claim with the value measured now; a claim that cannot be checked here says why.

    Raises:
        HfPruneError: the model is not available, or hf-prune did not make it.
    """
    clock, reporter, chosen = Clock(), reporter or Reporter(), choose_device(device)
    trust = Trust(allow_pickle=allow_pickle, trust_remote_code=trust_remote_code)
    subject = find_subject(model, revision, trust)
    with TemporaryDirectory(prefix="hf-prune-") as workspace:
        limit = int(MEMORY_SHARE * free_memory(chosen)) if max_memory is None else max_memory
        check = _Check(
            subject=subject,
            base=base,
            data=data or Path(),
            device=chosen,
            memory=ActivationMemory(limit=limit, folder=Path(workspace)),
            workspace=Path(workspace),
            trust=trust,
            reporter=reporter,
        )
        claims = tuple(_claims(check, measure=measure))
    return Verification(
        model=model,
        commit=subject.commit,
        name=subject.recorded.run.name,
        schema_version=subject.recorded.schema_version,
        claims=claims,
        environment=describe_environment(chosen),
        seconds=clock.seconds,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Check:
    """The model to check, and the means."""

    subject: Subject
    base: str | None
    data: Path
    device: torch.device
    memory: ActivationMemory
    workspace: Path
    trust: Trust
    reporter: Reporter

    @property
    def run(self) -> Run:
        """The record."""
        return self.subject.recorded.run


def _claims(check: _Check, *, measure: bool) -> Iterator[Claim]:
    run, folder, progress = check.run, check.subject.folder, check.reporter.progress
    yield from _record_claims(check.subject)
    yield from file_claims(run, folder, progress)
    yield from _card(check.subject)
    if run.before is not None:
        reason = "its figures come from the record published then, and are not measured again"
        yield unchecked("version before", f"commit {run.before.commit[:12]}", reason)
    try:
        published = build_skeleton(folder, trust_remote_code=check.trust.trust_remote_code)
    except (HfPruneError, OSError, ValueError, KeyError) as error:
        yield broken(
            "model", run.result_anatomy.architecture, "none", f"it cannot be read: {first_line(error)}"
        )
        return
    yield from anatomy_claims(run, published)
    original, reason = _original(check)
    if original is None:
        yield unchecked(KEPT, ranges(run.plan.kept), reason)
    else:
        yield from _origin_claims(run, published, original.decoder.skeleton, progress)
    if not measure:
        yield unchecked("figures", f"{len(run.evaluated.perplexities)} variants", "--no-measure was given")
        return
    models = Models(
        run=run,
        published=opened(run, local_source(folder), check.device, check.memory, check.trust),
        original=original,
        reason=reason,
        data=check.data,
        progress=progress,
    )
    yield from figure_claims(models)
    yield from score_claims(models)
    yield from not_measured(run)


def _record_claims(subject: Subject) -> Iterator[Claim]:
    """Whether the record can be read whole, and is the same in both places of a run folder."""
    recorded = subject.recorded
    schema = f"schema {recorded.schema_version}"
    if recorded.left_out:
        yield unchecked(
            "record", schema, f"older than {SCHEMA_VERSION}: {listed(recorded.left_out)} left out"
        )
    else:
        yield equal("record", schema, schema)
    if subject.own_record is not None:
        here, there = sha256_of(subject.folder / MARKER), sha256_of(subject.own_record)
        yield equal("record in model/ and beside it", here, there)


def _card(subject: Subject) -> Iterator[Claim]:
    run, recorded = subject.recorded.run, subject.recorded
    if recorded.schema_version != SCHEMA_VERSION:
        yield unchecked(CARD, "README.md", f"the record is of schema {recorded.schema_version}")
        return
    try:
        yield from card_claims(run, subject.folder, version("hf-prune"))
    except (LookupError, TypeError, ValueError) as error:  # a record that no run can have written
        yield broken(CARD, "README.md", "none", f"the record does not give a card: {first_line(error)}")


def _original(check: _Check) -> tuple[Original | None, str]:
    """The original, opened, or the reason why it is not available."""
    try:
        fetched = fetch_original(check.run, check.base, check.workspace, check.trust)
        original = opened(check.run, fetched, check.device, check.memory, check.trust)
        layers = original.decoder.num_layers  # opens it here, so that a fault becomes a reason
        check.reporter.tell(f"comparing with {fetched.model}, {layers} layers")
    except HfPruneError as error:
        return None, f"the original is not available: {error}"
    return original, ""


def _origin_claims(run: Run, published: Skeleton, original: Skeleton, progress: Progress) -> Iterator[Claim]:
    yield from original_claims(run, original)
    try:
        yield from origin_claims(run, published, original, progress)
    except HfPruneError as error:
        yield broken(KEPT, ranges(run.plan.kept), "none", str(error))
