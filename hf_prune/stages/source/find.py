"""The model's source: the Hub or a local folder, with safetensors, a GGUF file or pickled weights.

hf-prune fetches only the files that it needs. It fetches the small ones first, to refuse what cannot be done
before the weights are downloaded.
"""

import hashlib
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch

from hf_prune import hub
from hf_prune.errors import ModelNotFound, NoSafetensors
from hf_prune.model.anatomy import describe
from hf_prune.model.remote_code import code_files, refuse_own_tokenizer
from hf_prune.model.skeleton import read_config, skeleton_of, tied_names
from hf_prune.model.weights import INDEX_FILE, SINGLE_FILE, WeightIndex, read_index
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
        if self.repository is not None:
            return self.repository.repo_id.split("/")[-1]
        return self.folder.resolve().name

    @property
    def base_model(self) -> str | None:
        """The model that it was made from, according to its card."""
        if self.repository is not None:
            return self.repository.base_model
        return hub.only_base(_own_card(self.folder))

    @property
    def terms(self) -> Terms:
        """What its licence demands of derivatives."""
        if self.repository is not None:
            return terms_of(self.repository.license, self.repository.license_name)
        return terms_of(*hub.stated_license(_own_card(self.folder)))

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
    """Locate a model and check that hf-prune can cut its weights.

    For a repository in Meta's original format it takes the sibling `MODEL-hf`, if there is one.

    Args:
        model: a Hub id or a folder.
        revision: branch, tag or commit on the Hub.
        gguf_file: the name of a GGUF file to read the weights from.
        allow_pickle: accept pickled weights.
        trust_remote_code: fetch and run the model's own code.

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
        if _in_original_format(set(repository.files), allow_pickle) and gguf_file is None:
            repository, notice = _sibling(repository)
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


def _sibling(repository: hub.Repository) -> tuple[hub.Repository, str]:
    """The same model in transformers' format, and a notice for the user."""
    sibling = f"{repository.repo_id}-hf"
    if not hub.exists(sibling):
        raise NoSafetensors(_conversion(repository.repo_id, set(repository.files)))
    notice = (
        f"{repository.repo_id} is in Meta's original format; using {sibling}, the same model in "
        f"transformers' format"
    )
    return hub.look_up(sibling, None), notice


def _has_weights(names: set[str]) -> bool:
    return "config.json" in names and bool(names & {SINGLE_FILE, INDEX_FILE})


def _can_be_read(names: set[str], allow_pickle: bool) -> bool:
    return _has_weights(names) or (allow_pickle and _has_pickled_weights(names))


def _has_pickled_weights(names: set[str]) -> bool:
    return "config.json" in names and bool(names & {PICKLED_FILE, PICKLED_INDEX})


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
    if gguf_file is not None:
        if gguf_file not in names:
            known = ", ".join(sorted(name for name in names if name.endswith(".gguf"))) or "none"
            raise ModelNotFound(f"{model} has no file {gguf_file}; its GGUF files: {known}")
        return
    if _can_be_read(names, allow_pickle):
        return
    pickled = sorted(name for name in names if name.endswith((".bin", ".pth", ".pt", ".ckpt")))
    gguf = sorted(name for name in names if name.endswith(".gguf"))
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
    if _has_pickled_weights(names):
        return (
            f"{problem}: add --allow-pickle, which takes tensors from them and refuses code, or {conversion}"
        )
    return f"{problem}: {conversion}; --allow-pickle reads {PICKLED_FILE} only beside config.json"


def announce(model: LocatedModel) -> str:
    """One line about the download: size, licence, gating."""
    if (repository := model.repository) is None:
        return f"{model.argument}: local folder"
    count = sum(_is_weight(name, model) for name in repository.files)
    license_name = repository.license_name or repository.license or "not stated"
    gated = ", gated" if repository.gated else ""
    kind = "pickled weight file" if model.pickled else "weight file"
    return (
        f"{repository.repo_id}: {byte_size(download_size(model))} in {count} {kind}"
        f"{'s' if count > 1 else ''}, licence {license_name}{gated}"
    )


def download_size(model: LocatedModel) -> int:
    """Bytes of the weight files on the Hub, 0 for a local folder."""
    files = model.repository.files if model.repository else {}
    return sum(size for name, size in files.items() if _is_weight(name, model))


def _is_weight(name: str, model: LocatedModel) -> bool:
    if model.gguf_file is not None:
        return name == model.gguf_file
    assert model.repository is not None
    if model.pickled:
        sharded = PICKLED_INDEX in model.repository.files
        return fnmatch(name, "pytorch_model[-_]*-of-*.bin") if sharded else name == PICKLED_FILE
    if INDEX_FILE in model.repository.files:
        return fnmatch(name, "model-*-of-*.safetensors")
    return name == SINGLE_FILE


def fetch_anatomy(model: LocatedModel, *, exact: bool) -> Anatomy:
    """Fetch the small files of a model, or its GGUF file, and describe its layers and sizes.

    With `exact`, the sizes are read from the headers of safetensors files. Otherwise, and for a GGUF file or
    pickled weights, they follow from the configuration.

    Raises:
        UnsupportedModel: the architecture is not known, or cannot be cut.
    """
    if model.gguf_file is not None:
        config = read_gguf_config(_folder_with_gguf(model), model.gguf_file)
        config.dtype = torch.bfloat16  # to which the file is converted
        return describe(skeleton_of(config, None))
    folder = _fetch_small_files(model)
    config = read_config(folder, trust_remote_code=model.trust_remote_code, base_model=model.base_model)
    if not model.trust_remote_code:
        refuse_own_tokenizer(folder)
    index = None if model.pickled else _headers(model, exact=exact)
    return describe(skeleton_of(config, index, trust_remote_code=model.trust_remote_code))


def _fetch_small_files(model: LocatedModel) -> Path:
    """The folder with the small files of a model."""
    return hub.download(model.repository, _small(model)) if model.repository else model.folder


def _headers(model: LocatedModel, *, exact: bool) -> WeightIndex | None:
    if model.repository is not None:
        return hub.weight_headers(model.repository) if exact else None
    return read_index(model.folder)


def fetch_weights(model: LocatedModel, workspace: Path) -> Source:
    """Fetch the whole model. A GGUF file or pickled weights are converted in `workspace`."""
    converted = workspace / f"original-{fingerprint(model.identity, model.gguf_file)[:12]}"
    if model.gguf_file is not None:
        folder = convert_gguf(_folder_with_gguf(model), model.gguf_file, converted)
    else:
        folder = _fetch_small_files(model)
        if model.repository is not None:
            names = weight_files(folder, pickled=model.pickled)
            hub.download(model.repository, (*_small(model), *names))
        if model.pickled:
            folder = _convert_pickle(folder, converted, trusted=model.trust_remote_code)
    return _provenance(model, folder)


def _small(model: LocatedModel) -> tuple[str, ...]:
    assert model.repository is not None
    names = model.repository.files
    small = [name for name in names if is_companion(name, code=model.trust_remote_code)]
    index = PICKLED_INDEX if model.pickled else INDEX_FILE
    return (*small, *(name for name in ("config.json", index, CARD) if name in names))


def _folder_with_gguf(model: LocatedModel) -> Path:
    assert model.gguf_file is not None
    if model.repository is not None:
        names = [name for name in model.repository.files if is_legal(name) or name == CARD]
        return hub.download(model.repository, (model.gguf_file, *names))
    return model.folder


def _convert_pickle(folder: Path, target: Path, *, trusted: bool) -> Path:
    skeleton = skeleton_of(read_config(folder, trust_remote_code=trusted), None, trust_remote_code=trusted)
    beside = (folder / "config.json", *companion_files(folder, code=trusted))
    return convert_pickle(folder, target, beside=beside, tied=tied_names(skeleton.model))


def _provenance(model: LocatedModel, folder: Path) -> Source:
    source = Source(
        model=model.argument,
        repo_id=None,
        revision=None,
        commit=None,
        folder=str(folder),
        gguf_file=model.gguf_file,
        pickled=model.pickled,
        own_code=code_files(folder) if model.trust_remote_code else (),
        legal_files=legal_files(folder),
        notice=model.notice,
    )
    if (repository := model.repository) is None:
        return _with_own_card(source, model.folder)
    return replace(
        source,
        repo_id=repository.repo_id,
        revision=repository.revision,
        commit=repository.commit,
        license=repository.license,
        license_name=repository.license_name,
        license_link=repository.license_link,
        gated=repository.gated,
        gate=repository.gate,
        languages=repository.languages,
    )


def _own_card(folder: Path) -> dict[str, Any]:
    """The metadata of a local folder's card."""
    card = folder / CARD
    return hub.card_data(card) if card.is_file() else {}


def _with_own_card(source: Source, folder: Path) -> Source:
    """Add the licence, languages and base model that a local folder's card states."""
    data = _own_card(folder)
    languages = data.get("language") or ()
    license_id, license_name = hub.stated_license(data)
    return replace(
        source,
        repo_id=hub.only_base(data),
        license=license_id,
        license_name=license_name,
        license_link=data.get("license_link"),
        languages=(languages,) if isinstance(languages, str) else tuple(languages),
    )
