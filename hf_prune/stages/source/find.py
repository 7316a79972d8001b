"""Where the model comes from: the Hub or a local folder; safetensors, a GGUF file, or pickled weights.

Only the files that are needed are fetched, the small ones first, so that a request that cannot be met is
refused before the weights are on their way.
"""

import hashlib
import json
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch

from hf_prune import hub
from hf_prune.errors import ModelNotFound, NoSafetensors
from hf_prune.machine.disk import gigabytes
from hf_prune.model.anatomy import describe
from hf_prune.model.remote_code import code_files, refuse_own_tokenizer
from hf_prune.model.skeleton import read_config, skeleton_of, tied_names
from hf_prune.model.weights import INDEX_FILE, SINGLE_FILE, WeightIndex, read_index
from hf_prune.records import Anatomy, Source, fingerprint
from hf_prune.stages.source.companions import companion_files, is_companion, is_legal, legal_files
from hf_prune.stages.source.gguf import convert_gguf, read_gguf_config
from hf_prune.stages.source.licence import Terms, terms_of
from hf_prune.stages.source.pickles import PICKLED_FILE, PICKLED_INDEX, convert_pickle, pickled_files

CARD = "README.md"  # fetched for the cache: with HF_HUB_OFFLINE it alone tells the licence


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A model that was located and not yet fetched; `repository` is None for a local folder."""

    model: str
    repository: hub.Repository | None
    folder: Path | None
    gguf_file: str | None
    pickled: bool  # its weights are in pytorch_model.bin, and may be read from there
    trust_remote_code: bool  # code that it brings may be run
    notice: str | None

    @property
    def name(self) -> str:
        """The model's own name, without its owner."""
        if self.repository is not None:
            return self.repository.repo_id.split("/")[-1]
        assert self.folder is not None
        return self.folder.resolve().name

    @property
    def base_model(self) -> str | None:
        """The model that its card says it was made from."""
        if self.repository is not None:
            return self.repository.base_model
        assert self.folder is not None
        return hub.only_base(_own_card(self.folder))

    @property
    def terms(self) -> Terms:
        """What its licence demands of whoever publishes a model made from it."""
        if self.repository is not None:
            return terms_of(self.repository.license, self.repository.license_name)
        assert self.folder is not None
        return terms_of(*hub.stated_license(_own_card(self.folder)))

    @property
    def identity(self) -> str:
        """Changes when the model does: the commit, or the files' names, sizes and times; and its code."""
        return f"{self._files} with its code" if self.trust_remote_code else self._files

    @property
    def _files(self) -> str:
        if self.repository is not None:
            return self.repository.commit
        assert self.folder is not None
        files = sorted(path for path in self.folder.iterdir() if path.is_file())
        facts = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
        return hashlib.sha256(repr(facts).encode()).hexdigest()


def find(
    model: str,
    revision: str | None,
    gguf_file: str | None,
    *,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
) -> Found:
    """Locate a model and make sure that it has weights in a form that can be cut.

    A repository in Meta's original format stands for its sibling `MODEL-hf`, where there is one.

    Args:
        model: a Hub id or a folder.
        revision: branch, tag or commit on the Hub.
        gguf_file: take this file of it.
        allow_pickle: whether pickled weights may be read.
        trust_remote_code: whether code that the model brings may be fetched and run.

    Raises:
        ModelNotFound: neither a folder nor a model on the Hub.
        NoSafetensors: its weights are in another form; the message says how to convert them.
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
    return Found(
        model=model,
        repository=repository,
        folder=None if repository else folder,
        gguf_file=gguf_file,
        pickled=gguf_file is None and not _has_weights(names),
        trust_remote_code=trust_remote_code,
        notice=notice,
    )


def _sibling(repository: hub.Repository) -> tuple[hub.Repository, str]:
    """The same model in transformers' format, and what is said of it."""
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
    # transformers 5 has no converter any more; 4.44 is the last that was tried and has it.
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
    readable = _has_pickled_weights(names)
    return (
        f"{model} has only pickled weights ({pickled}), which can run code when they are read: "
        + ("add --allow-pickle, which takes tensors from them and refuses code, or " if readable else "")
        + "convert them to safetensors first, with https://huggingface.co/spaces/safetensors/convert"
        + ("" if readable else f"; --allow-pickle reads {PICKLED_FILE} beside config.json alone")
    )


def announce(found: Found) -> str:
    """One line on what is about to be fetched: size, licence, gating."""
    if found.repository is None:
        return f"{found.model}: local folder"
    names = [name for name in found.repository.files if _is_weight(name, found)]
    license_name = found.repository.license_name or found.repository.license or "not stated"
    gated = ", gated" if found.repository.gated else ""
    kind = "pickled weight file" if found.pickled else "weight file"
    return (
        f"{found.repository.repo_id}: {gigabytes(download_size(found))} in {len(names)} {kind}"
        f"{'s' if len(names) > 1 else ''}, licence {license_name}{gated}"
    )


def download_size(found: Found) -> int:
    """Bytes of the weight files that the Hub would send; nothing for a local folder."""
    if found.repository is None:
        return 0
    return sum(size for name, size in found.repository.files.items() if _is_weight(name, found))


def _is_weight(name: str, found: Found) -> bool:
    if found.gguf_file is not None:
        return name == found.gguf_file
    assert found.repository is not None
    if found.pickled:
        sharded = PICKLED_INDEX in found.repository.files
        return fnmatch(name, "pytorch_model[-_]*-of-*.bin") if sharded else name == PICKLED_FILE
    if INDEX_FILE in found.repository.files:
        return fnmatch(name, "model-*-of-*.safetensors")
    return name == SINGLE_FILE


def fetch_anatomy(found: Found, *, exact: bool) -> Anatomy:
    """Bring what says how large the model is, and say it; no weights in safetensors form.

    Args:
        found: which model.
        exact: read the headers of the weight files, too, rather than presume what the configuration says;
            a GGUF file and pickled weights have none, so there it is always presumed.

    Raises:
        UnsupportedModel: the architecture is not known, or cannot be cut.
    """
    if found.gguf_file is not None:
        config = read_gguf_config(_folder_with_gguf(found), found.gguf_file)
        config.dtype = torch.bfloat16  # what the file is converted to
        return describe(skeleton_of(config, None))
    folder = _described(found)
    config = read_config(folder, trust_remote_code=found.trust_remote_code, base_model=found.base_model)
    if not found.trust_remote_code:
        refuse_own_tokenizer(folder)
    index = None if found.pickled else _headers(found, exact=exact)
    return describe(skeleton_of(config, index, trust_remote_code=found.trust_remote_code))


def _described(found: Found) -> Path:
    """The folder with the small files of a model."""
    if found.repository is not None:
        return hub.download(found.repository, _small(found))
    assert found.folder is not None
    return found.folder


def _headers(found: Found, *, exact: bool) -> WeightIndex | None:
    if found.repository is not None:
        return hub.weight_headers(found.repository) if exact else None
    assert found.folder is not None
    return read_index(found.folder)


def fetch_weights(found: Found, workspace: Path) -> Source:
    """Bring the whole model onto this disk.

    Args:
        found: which model.
        workspace: where a GGUF file is converted, and pickled weights are.
    """
    converted = workspace / f"original-{fingerprint(found.identity, found.gguf_file)[:12]}"
    if found.gguf_file is not None:
        folder = convert_gguf(_folder_with_gguf(found), found.gguf_file, converted)
    elif found.pickled:
        folder = _convert_pickle(found, converted)
    else:
        folder = _described(found)
        if found.repository is not None:
            hub.download(found.repository, (*_small(found), *_weight_names(folder)))
    return _provenance(found, folder)


def _small(found: Found) -> tuple[str, ...]:
    assert found.repository is not None
    names = found.repository.files
    small = [name for name in names if is_companion(name, code=found.trust_remote_code)]
    index = PICKLED_INDEX if found.pickled else INDEX_FILE
    return (*small, *(name for name in ("config.json", index, CARD) if name in names))


def _folder_with_gguf(found: Found) -> Path:
    assert found.gguf_file is not None
    if found.repository is not None:
        names = [name for name in found.repository.files if is_legal(name) or name == CARD]
        return hub.download(found.repository, (found.gguf_file, *names))
    assert found.folder is not None
    return found.folder


def _convert_pickle(found: Found, target: Path) -> Path:
    folder, trusted = _described(found), found.trust_remote_code
    if found.repository is not None:
        hub.download(found.repository, (*_small(found), *pickled_files(folder)))
    skeleton = skeleton_of(read_config(folder, trust_remote_code=trusted), None, trust_remote_code=trusted)
    beside = (folder / "config.json", *companion_files(folder, code=trusted))
    return convert_pickle(folder, target, beside=beside, tied=tied_names(skeleton.model))


def _weight_names(folder: Path) -> tuple[str, ...]:
    if (folder / INDEX_FILE).is_file():
        weight_map = json.loads((folder / INDEX_FILE).read_text())["weight_map"]
        return tuple(sorted(set(weight_map.values())))
    return (SINGLE_FILE,)


def _provenance(found: Found, folder: Path) -> Source:
    source = Source(
        model=found.model,
        repo_id=None,
        revision=None,
        commit=None,
        folder=str(folder),
        gguf_file=found.gguf_file,
        pickled=found.pickled,
        own_code=code_files(folder) if found.trust_remote_code else (),
        legal_files=legal_files(folder),
        notice=found.notice,
    )
    repository = found.repository
    if repository is not None:
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
    assert found.folder is not None
    return _from_own_card(source, found.folder)


def _own_card(folder: Path) -> dict[str, Any]:
    """What a local folder's own card says in its metadata."""
    card = folder / CARD
    return hub.card_data(card) if card.is_file() else {}


def _from_own_card(source: Source, folder: Path) -> Source:
    """A local folder's licence, language and base model, where its own card states them."""
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
