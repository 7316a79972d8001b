"""What is verified, and what it is compared with: brought here from a folder or from the Hub."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

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

BESIDE = (MARKER, "README.md")  # what is read first
PLOTS = "plots/"
NOTHING = Text(name="", dataset=None, documents=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Leave:
    """What may be done with files that others wrote."""

    allow_pickle: bool = False
    trust_remote_code: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A published model, whole on this disk."""

    recorded: Recorded
    folder: Path
    commit: str | None  # on the Hub
    own_record: Path | None  # of the run folder that it lies in


def find_subject(model: str, revision: str | None, leave: Leave) -> Subject:
    """Bring a published model, the record first.

    Args:
        model: a run folder, its `model/`, a copy of what was published, or a Hub id.
        revision: branch, tag or commit on the Hub.
        leave: what may be done with it.

    Raises:
        UnreadableRecord: hf-prune did not make it, or its record is another version's.
        SourceError: it cannot be had.
        RecipeError: it brings code of its own, which may not be run.
    """
    if Path(model).expanduser().is_dir():
        finished = read_finished(Path(model).expanduser())
        _check_code(finished.recorded.run, model, leave)
        own = finished.folder.path / "run.json" if finished.folder else None
        return Subject(recorded=finished.recorded, folder=finished.model, commit=None, own_record=own)
    repository = hub.look_up(model, revision)
    if MARKER not in repository.files:
        raise UnreadableRecord(
            f"{model} was not made by hf-prune: it has no {MARKER}, which holds the figures"
        )
    folder = hub.download(repository, tuple(name for name in BESIDE if name in repository.files))
    recorded = read_record(folder / MARKER)
    _check_code(recorded.run, model, leave)
    found = source.find(model, repository.commit, None, trust_remote_code=leave.trust_remote_code)
    exported = {export.path for export in recorded.run.exports.found}
    more = tuple(name for name in repository.files if name.startswith(PLOTS) or name in exported)
    if more:
        hub.download(repository, more)
    source.fetch_weights(found, folder)  # safetensors alone: nothing is converted, and nothing written there
    return Subject(recorded=recorded, folder=folder, commit=repository.commit, own_record=None)


def _check_code(run: Run, model: str, leave: Leave) -> None:
    if run.recipe.trust_remote_code and not leave.trust_remote_code:
        raise RecipeError(
            f"{model} is loaded by the Python code that it brings: read it, and add --trust-remote-code"
        )


def fetch_original(run: Run, base: str | None, workspace: Path, leave: Leave) -> Source:
    """Bring the model that was cut, in the form in which it was.

    Args:
        run: the record, which says where it was on the Hub.
        base: where it is; None: there.
        workspace: for what has to be converted.
        leave: what may be done with it.

    Raises:
        HfPruneError: it cannot be had, or may not be read.
    """
    made_from, revision = run.source, None
    gguf_file = made_from.gguf_file and Path(made_from.gguf_file).name
    if base is not None:
        place = base
        folder = Path(base).expanduser()
        if gguf_file and folder.is_dir() and not (folder / gguf_file).is_file():
            gguf_file = None  # it was converted before
    elif made_from.repo_id and made_from.commit:
        place, revision = made_from.repo_id, made_from.commit
    elif gguf_file == GGUF_FILE and run.command.startswith("hf-prune demo"):
        place = str(demo_model()[0])
    else:
        raise UnreadableRecord(
            f"{made_from.model} was a folder of whoever made this: say where it is with --base"
        )
    found = source.find(
        place,
        revision,
        gguf_file,
        allow_pickle=leave.allow_pickle,
        trust_remote_code=leave.trust_remote_code,
    )
    return source.fetch_weights(found, workspace)


def opened(
    run: Run, folder: Source, device: torch.device, memory: ActivationMemory, leave: Leave
) -> Original:
    """A model to be measured as the run measured it.

    Args:
        run: whose recipe is followed.
        folder: where the model is.
        device: to run its layers on.
        memory: for hidden states.
        leave: what may be done with it.
    """
    return Original(
        recipe=replace(run.recipe, trust_remote_code=leave.trust_remote_code),
        source=folder,
        identity="",
        material=Material(texts=(NOTHING, NOTHING)),  # each figure names its own
        device=device,
        memory=memory,
    )


def reading(
    model: Original, material: Text | Images, recipe: Recipe, questions: Questions | None = None
) -> Original:
    """The same model, to be measured on something else.

    Args:
        model: as it was opened.
        material: a text, or images.
        recipe: says how much of it.
        questions: of a file, where multiple choice is not made from the text.
    """
    twice: Any = (material, material)  # the first is what was fitted on, which nobody asks for here
    return replace(model, recipe=recipe, material=Material(texts=twice, questions=questions))


def local_source(folder: Path) -> Source:
    """A folder as it is."""
    return Source(model=str(folder), repo_id=None, revision=None, commit=None, folder=str(folder))
