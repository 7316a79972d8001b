"""Fetch the model to verify and its original, from a folder or from the Hub."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from hf_prune import hub
from hf_prune.commands.finished import read_finished
from hf_prune.errors import RecipeError, UnreadableRecord
from hf_prune.model.activations import ActivationMemory
from hf_prune.recipe.recipe import Recipe
from hf_prune.records import Source
from hf_prune.stages.original import Original
from hf_prune.stages.run import MARKER, Recorded, Run, read_record
from hf_prune.stages.source import find as source
from hf_prune.stages.source.demo import GGUF_FILE, demo_model
from hf_prune.stages.texts.images import Images
from hf_prune.stages.texts.material import Material
from hf_prune.stages.texts.questions import Questions
from hf_prune.stages.texts.text import Text

READ_FIRST = (MARKER, "README.md")
PLOTS = "plots/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What hf-prune may do with files that others wrote."""

    allow_pickle: bool = False
    trust_remote_code: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A published model, complete on this disk."""

    recorded: Recorded
    folder: Path
    commit: str | None  # on the Hub
    own_record: Path | None  # run.json of its run folder, if it is in one


def find_subject(model: str, revision: str | None, trust: Trust) -> Subject:
    """Fetch a published model, its record first.

    Args:
        model: a run folder, its `model/`, a copy of the published files, or a Hub id.

    Raises:
        UnreadableRecord: hf-prune did not make it, or this version cannot read its record.
        SourceError: it is not available.
        RecipeError: its own code would have to run, and you did not allow that.
    """
    if Path(model).expanduser().is_dir():
        finished = read_finished(Path(model).expanduser())
        _check_code(finished.recorded.run, model, trust)
        own = finished.folder.path / "run.json" if finished.folder else None
        return Subject(recorded=finished.recorded, folder=finished.model, commit=None, own_record=own)
    repository = hub.look_up(model, revision)
    if MARKER not in repository.files:
        raise UnreadableRecord(
            f"{model} was not made by hf-prune: it has no {MARKER}, which holds the figures"
        )
    folder = hub.download(repository, tuple(name for name in READ_FIRST if name in repository.files))
    recorded = read_record(folder / MARKER)
    _check_code(recorded.run, model, trust)
    found = source.find(model, repository.commit, None, trust_remote_code=trust.trust_remote_code)
    exported = {export.path for export in recorded.run.exports.found}
    others = tuple(name for name in repository.files if name.startswith(PLOTS) or name in exported)
    if others:
        hub.download(repository, others)
    source.fetch_weights(found, folder)  # safetensors only, so nothing is converted or written
    return Subject(recorded=recorded, folder=folder, commit=repository.commit, own_record=None)


def _check_code(run: Run, model: str, trust: Trust) -> None:
    if run.recipe.trust_remote_code and not trust.trust_remote_code:
        raise RecipeError(
            f"{model} needs its own Python code to load: read the code, then add --trust-remote-code"
        )


def fetch_original(run: Run, base: str | None, workspace: Path, trust: Trust) -> Source:
    """Fetch the original in the format that was cut.

    Args:
        run: the record, which names the original on the Hub.
        base: a folder or Hub id to use instead; None: the one in the record.
        workspace: for converted weights.

    Raises:
        HfPruneError: it is not available, or may not be read.
    """
    made_from, revision = run.source, None
    gguf_file = made_from.gguf_file and Path(made_from.gguf_file).name
    if base is not None:
        address = base
        folder = Path(base).expanduser()
        if gguf_file and folder.is_dir() and not (folder / gguf_file).is_file():
            gguf_file = None  # it was converted before
    elif made_from.repo_id and made_from.commit:
        address, revision = made_from.repo_id, made_from.commit
    elif gguf_file == GGUF_FILE and run.command.startswith("hf-prune demo"):
        address = str(demo_model()[0])
    else:
        raise UnreadableRecord(f"{made_from.model} was a local folder: name the original with --base")
    found = source.find(
        address,
        revision,
        gguf_file,
        allow_pickle=trust.allow_pickle,
        trust_remote_code=trust.trust_remote_code,
    )
    return source.fetch_weights(found, workspace)


def opened(
    run: Run, folder: Source, device: torch.device, memory: ActivationMemory, trust: Trust
) -> Original:
    """A model, opened to be measured as the run measured it."""
    return Original(
        recipe=replace(run.recipe, trust_remote_code=trust.trust_remote_code),
        source=folder,
        identity="",
        material=Material(),  # each figure names its own
        device=device,
        memory=memory,
    )


def reading(
    model: Original, material: Text | Images | None, recipe: Recipe, questions: Questions | None = None
) -> Original:
    """The same model, to be measured on another text.

    Args:
        material: a text, or images; None where the questions are all.
        questions: from a file; None: items are made from the text.
    """
    return replace(model, recipe=recipe, material=Material(heldout=material, questions=questions))


def local_source(folder: Path) -> Source:
    """A local folder as a source."""
    return Source(model=str(folder), repo_id=None, revision=None, commit=None, folder=str(folder))
