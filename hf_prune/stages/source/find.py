"""The model's source: the Hub or a local folder, with safetensors, a GGUF file or pickled weights.

hf-prune fetches only the files that it needs. It fetches the small ones first, to refuse what cannot be done
before the weights are downloaded.
"""

import hashlib
from dataclasses import dataclass
from fnmatch import fnmatch
from glob import escape
from pathlib import Path

import torch

from hf_prune import hub
from hf_prune.errors import ModelNotFound, NoSafetensors
from hf_prune.model.anatomy import describe
from hf_prune.model.remote_code import code_files, refuse_own_tokenizer
from hf_prune.model.skeleton import read_config, skeleton_of, tied_names
from hf_prune.model.weights import INDEX_FILE, SINGLE_FILE, read_index
from hf_prune.records import Anatomy, Source, fingerprint
from hf_prune.records.numbers import byte_size
from hf_prune.stages.source.companions import companion_files, is_companion, is_legal, legal_files
from hf_prune.stages.source.gguf import convert_gguf, read_gguf_config
from hf_prune.stages.source.licence import Terms, terms_of
from hf_prune.stages.source.pickles import PICKLED_FILE, PICKLED_INDEX, convert_pickle, weight_files

CARD = "README.md"  # kept in the cache, because with HF_HUB_OFFLINE only the card has the licence


@dataclass(frozen=True, slots=True, kw_only=True)
class LocatedModel:
    """A model before its weights are fetched."""

    argument: str  # the Hub id or folder that the user gave
    repository: hub.Repository | None  # None for a local folder
    folder: Path  # of a local model
    gguf_file: str | None
    pickled: bool  # its weights are only in pytorch_model.bin, which the user allowed to read
    trust_remote_code: bool  # the user allowed its own code to run
    notice: str | None  # to show to the user

    @property
    def name(self) -> str:
        """The model's own name, without its owner."""
        return self.repository.repo_id.split("/")[-1] if self.repository else self.folder.resolve().name

    @property
    def card(self) -> hub.Card:
        """What its card states."""
        return self.repository.card if self.repository else hub.card_in(self.folder)

    @property
    def terms(self) -> Terms:
        """What its licence demands of derivatives."""
        card = self.card
        return terms_of(card.license, card.license_name)

    @property
    def identity(self) -> str:
        """Changes when the model does: its commit, or the names, sizes and times of its files."""
        if self.repository is not None:
            files = self.repository.commit
        else:
            paths = sorted(path for path in self.folder.iterdir() if path.is_file())
            facts = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
            files = hashlib.sha256(repr(facts).encode()).hexdigest()
        return f"{files} with its code" if self.trust_remote_code else files


def find(
    model: str,
    revision: str | None,
    gguf_file: str | None,
    *,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
) -> LocatedModel:
    """Locate a model, on the Hub or in a folder, and check that hf-prune can cut its weights.

    For a repository in Meta's original format it takes the sibling `MODEL-hf`, if there is one.

    Raises:
        ModelNotFound: there is neither such a folder nor such a model on the Hub.
        NoSafetensors: its weights are in another form. The message says how to convert them.
    """
    folder, repository, notice = Path(model).expanduser(), None, None
    if folder.is_dir():
        name, names = model, {path.name for path in folder.iterdir()}
    elif model.startswith((".", "/", "~")) or folder.is_file():
        raise ModelNotFound(f"there is no folder {model}: give a folder that holds a model")
    else:
        repository = hub.look_up(model, revision)
        if gguf_file is None and _in_original_format(set(repository.files), allow_pickle):
            sibling = f"{repository.repo_id}-hf"
            if hub.exists(sibling):
                notice = (
                    f"{repository.repo_id} is in Meta's original format; using {sibling}, the same model in "
                    f"transformers' format"
                )
                repository = hub.look_up(sibling, None)
        name, names = repository.repo_id, set(repository.files)
    _check_form(name, names, gguf_file, allow_pickle)
    return LocatedModel(
        argument=model,
        repository=repository,
        folder=folder,
        gguf_file=gguf_file,
        pickled=gguf_file is None and not _has_weights(names),
        trust_remote_code=trust_remote_code,
        notice=notice,
    )


def _has_weights(names: set[str], *, pickled: bool = False) -> bool:
    weights = {PICKLED_FILE, PICKLED_INDEX} if pickled else {SINGLE_FILE, INDEX_FILE}
    return "config.json" in names and bool(names & weights)


def _can_be_read(names: set[str], allow_pickle: bool) -> bool:
    return _has_weights(names) or (allow_pickle and _has_weights(names, pickled=True))


def _in_original_format(names: set[str], allow_pickle: bool) -> bool:
    consolidated = any(fnmatch(name, "*consolidated.*.pth") for name in names)
    return consolidated and not _can_be_read(names, allow_pickle)


def _conversion(repo_id: str, names: set[str]) -> str:
    shards = sum(fnmatch(name, "*consolidated.*.pth") for name in names)
    # transformers 5 has no converter any more. 4.44 is the last version that was tried with it.
    return (
        f"{repo_id} is in Meta's original format and has no sibling {repo_id}-hf: convert it with `hf "
        f"download {repo_id} --local-dir original && uv run --no-project --python 3.11 --with "
        f"transformers==4.44.2 --with torch --with 'numpy<2' --with accelerate --with sentencepiece "
        f"--with tiktoken --with blobfile python -m transformers.models.llama.convert_llama_weights_to_hf "
        f"--input_dir original --output_dir converted --num_shards {shards} --llama_version 2` "
        f"(--llama_version 3 or 3.1 for those models), then give the folder `converted`"
    )


def _check_form(model: str, names: set[str], gguf_file: str | None, allow_pickle: bool) -> None:
    gguf = sorted(name for name in names if name.endswith(".gguf"))
    if gguf_file is not None and gguf_file not in names:
        raise ModelNotFound(f"{model} has no file {gguf_file}; its GGUF files: {', '.join(gguf) or 'none'}")
    if gguf_file is not None or _can_be_read(names, allow_pickle):
        return
    pickled = sorted(name for name in names if name.endswith((".bin", ".pth", ".pt", ".ckpt")))
    if _in_original_format(names, allow_pickle):
        raise NoSafetensors(_conversion(model, names))
    if "adapter_config.json" in names:
        raise NoSafetensors(
            f"{model} is an adapter, not a whole model: merge it into its base and give the result"
        )
    if gguf:
        raise NoSafetensors(f"{model} has weights as GGUF only: add --gguf-file {gguf[0]}")
    if pickled:
        raise NoSafetensors(_only_pickled(model, pickled[0], names))
    raise NoSafetensors(f"{model} holds no model: config.json and {SINGLE_FILE} are expected")


def _only_pickled(model: str, pickled: str, names: set[str]) -> str:
    problem = f"{model} has only pickled weights ({pickled}), which can run code when they are read"
    conversion = "convert them to safetensors first, with https://huggingface.co/spaces/safetensors/convert"
    if _has_weights(names, pickled=True):
        return (
            f"{problem}: add --allow-pickle, which takes tensors from them and refuses code, or {conversion}"
        )
    return f"{problem}: {conversion}; --allow-pickle reads {PICKLED_FILE} only beside config.json"


def announce(model: LocatedModel) -> str:
    """One line about the download: size, licence, gating."""
    if (repository := model.repository) is None:
        return f"{model.argument}: local folder"
    license_name = repository.card.license_name or repository.card.license or "not stated"
    count = len(_weight_sizes(model))
    kind = f"{'pickled ' if model.pickled else ''}weight file{'s' if count > 1 else ''}"
    return (
        f"{repository.repo_id}: {byte_size(download_size(model))} in {count} {kind}, licence {license_name}"
        f"{', gated' if repository.gated else ''}"
    )


def download_size(model: LocatedModel) -> int:
    """Bytes of the weight files on the Hub, 0 for a local folder."""
    return sum(_weight_sizes(model))


def _weight_sizes(model: LocatedModel) -> list[int]:
    files = model.repository.files if model.repository else {}
    if model.gguf_file is not None:
        pattern = escape(model.gguf_file)
    elif model.pickled:
        pattern = "pytorch_model[-_]*-of-*.bin" if PICKLED_INDEX in files else PICKLED_FILE
    else:
        pattern = "model-*-of-*.safetensors" if INDEX_FILE in files else SINGLE_FILE
    return [size for name, size in files.items() if fnmatch(name, pattern)]


def fetch_anatomy(model: LocatedModel, *, exact: bool) -> Anatomy:
    """Fetch the small files of a model, or its GGUF file, and describe its layers and sizes.

    With `exact`, the sizes are read from the headers of safetensors files. Otherwise, and for a GGUF file or
    pickled weights, they follow from the configuration.

    Raises:
        UnsupportedModel: the architecture is not known, or cannot be cut.
    """
    if model.gguf_file is not None:
        config = read_gguf_config(_fetch(model), model.gguf_file)
        config.dtype = torch.bfloat16  # to which the file is converted
        return describe(skeleton_of(config, None))
    folder = _fetch(model)
    config = read_config(folder, trust_remote_code=model.trust_remote_code, base_model=model.card.base_model)
    if not model.trust_remote_code:
        refuse_own_tokenizer(folder)
    index = None
    if model.repository is None and not model.pickled:
        index = read_index(folder)
    elif model.repository is not None and not model.pickled and exact:
        index = hub.weight_headers(model.repository)
    return describe(skeleton_of(config, index, trust_remote_code=model.trust_remote_code))


def fetch_weights(model: LocatedModel, workspace: Path) -> Source:
    """Fetch the whole model. A GGUF file or pickled weights are converted in `workspace`."""
    converted = workspace / f"original-{fingerprint(model.identity, model.gguf_file)[:12]}"
    if model.gguf_file is not None:
        folder = convert_gguf(_fetch(model), model.gguf_file, converted)
    else:
        folder = _fetch(model)
        _fetch(model, weight_files(folder, pickled=model.pickled))
        if model.pickled:
            trusted = model.trust_remote_code
            config = read_config(folder, trust_remote_code=trusted)
            tied = tied_names(skeleton_of(config, None, trust_remote_code=trusted).model)
            beside = (folder / "config.json", *companion_files(folder, code=trusted))
            folder = convert_pickle(folder, converted, beside=beside, tied=tied)
    return _provenance(model, folder)


def _fetch(model: LocatedModel, weights: tuple[str, ...] = ()) -> Path:
    """The folder with these weights and the small files of a model, or with its GGUF file and licences."""
    if model.repository is None:
        return model.folder
    files, code = model.repository.files, model.trust_remote_code
    if model.gguf_file is not None:
        small = [name for name in files if is_legal(name) or name in (CARD, model.gguf_file)]
    else:
        others = (CARD, "config.json", PICKLED_INDEX if model.pickled else INDEX_FILE)
        small = [name for name in files if name in others or is_companion(name, code=code)]
    return hub.download(model.repository, (*small, *weights))


def _provenance(model: LocatedModel, folder: Path) -> Source:
    repository, card = model.repository, model.card
    return Source(
        model=model.argument,
        repo_id=repository.repo_id if repository else card.base_model,
        revision=repository.revision if repository else None,
        commit=repository.commit if repository else None,
        folder=str(folder),
        gguf_file=model.gguf_file,
        pickled=model.pickled,
        own_code=code_files(folder) if model.trust_remote_code else (),
        license=card.license,
        license_name=card.license_name,
        license_link=card.license_link,
        legal_files=legal_files(folder),
        gated=repository.gated if repository else False,
        gate=repository.gate if repository else None,
        languages=card.languages,
        notice=model.notice,
    )
