"""Models whose weights are pickled: read as tensors where that is allowed, and never run."""

import json
import os
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from huggingface_hub import HfApi, ModelCard
from safetensors.torch import load_file

from hf_prune.errors import HfPruneError, NoSafetensors, UnsupportedModel
from hf_prune.model.weights import read_index
from hf_prune.stages.source.companions import companion_files
from hf_prune.stages.source.find import fetch_weights, find
from hf_prune.stages.source.pickles import convert_pickle
from tests.loopback import LoopbackHub
from tests.support.tool import FEW, bytes_of, hf_prune, times_of

TinyModels = Callable[..., Path]
CUT = ("--layers", "2-3", "--bridge", "none", *FEW)
TIED = {"lm_head.weight": "model.embed_tokens.weight"}


def pickled_copy(model: Path, target: Path, *, shards: int = 1, **settings: object) -> Path:
    """A copy of a model with its weights in pickled files, tied ones under both names, as torch saves it."""
    shutil.copytree(model, target, ignore=shutil.ignore_patterns("*.safetensors*"))
    weights = {}
    for path in sorted(model.glob("*.safetensors")):
        weights |= load_file(path)
    if json.loads((model / "config.json").read_text())["tie_word_embeddings"]:
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    if shards == 1:
        torch.save(weights, target / "pytorch_model.bin", **settings)
        return target
    names, weight_map = sorted(weights, key=lambda name: name not in ("lm_head.weight", *TIED.values())), {}
    per_shard = -(-len(names) // shards)
    for number in range(shards):
        file = f"pytorch_model-{number + 1:05d}-of-{shards:05d}.bin"
        part = {name: weights[name] for name in names[number * per_shard :][:per_shard]}
        torch.save(part, target / file, **settings)
        weight_map |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    (target / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    return target


def tensors_of(folder: Path) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Every tensor of a folder as it lies on disk."""
    index = read_index(folder)
    return {n: (t.dtype, t.shape, b"".join(map(bytes, t.chunks()))) for n, t in index.tensors.items()}


def without_layers_2_and_3(tensors: dict[str, object]) -> dict[str, object]:
    """The tensors of a Llama of six layers under the names that they have once these two are gone."""
    moved = {"0": "0", "1": "1", "4": "2", "5": "3"}
    kept = {}
    for name, value in tensors.items():
        layer = re.fullmatch(r"(model\.layers\.)(\d+)(\..+)", name)
        if layer is None or layer[2] in moved:
            kept[f"{layer[1]}{moved[layer[2]]}{layer[3]}" if layer else name] = value
    return kept


def converted(folder: Path, target: Path) -> Path:
    """A pickled model in safetensors form."""
    return convert_pickle(folder, target, beside=companion_files(folder), tied=TIED)


class Intruder:
    """What a pickle can do to whoever reads it."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.trace),)


# The whole way


@pytest.mark.parametrize(
    ("shards", "settings"),
    [
        pytest.param(1, {"dtype": torch.bfloat16}, id="bf16", marks=pytest.mark.slow),
        pytest.param(3, {"tie_word_embeddings": True}, id="tied and sharded"),
    ],
)
def test_a_pickled_model_on_the_hub_becomes_what_its_safetensors_form_becomes(
    home_hub: LoopbackHub, tiny_models: TinyModels, tmp_path: Path, shards: int, settings: dict[str, object]
) -> None:
    model = tiny_models("llama", **settings)
    pickled = pickled_copy(model, tmp_path / "pickled", shards=shards)
    (pickled / "training_args.bin").write_bytes(b"not needed")
    HfApi().create_repo("tester/old")
    HfApi().upload_folder(repo_id="tester/old", folder_path=pickled)
    home_hub.calls.clear()
    outcome = hf_prune("tester/old", "--allow-pickle", *CUT, "--output", str(tmp_path / "run"))
    assert outcome.code == 0, outcome.err
    assert f"in {shards} pickled weight file{'s' if shards > 1 else ''}" in outcome.err
    written = tmp_path / "run" / "model"
    assert tensors_of(written) == without_layers_2_and_3(tensors_of(model))
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert (written / name).read_bytes() == (model / name).read_bytes()
    fetched = [call.path for call in home_hub.calls if "/storage/" in call.path and call.method == "GET"]
    assert len(fetched) == shards
    assert home_hub.calls_to("GET", "training_args.bin") == []


def test_the_command_on_the_card_says_it_and_the_same_command_computes_nothing_again(
    tiny_models: TinyModels, tmp_path: Path
) -> None:
    pickled = pickled_copy(tiny_models("llama"), tmp_path / "old")
    run = tmp_path / "run"
    words = (str(pickled), "--allow-pickle", *CUT, "--output", str(run))
    assert hf_prune(*words).code == 0
    card = ModelCard.load(run / "model" / "README.md").content
    assert "hf-prune old --allow-pickle --layers 2-3" in card
    assert "from its pickled weights" in card
    told = json.loads((run / "run.json").read_text())
    assert told["recipe"]["allow_pickle"]
    assert told["source"]["pickled"]
    before = times_of(run / "stages"), bytes_of(run)
    assert hf_prune(*words).code == 0
    after = times_of(run / "stages"), bytes_of(run)
    del before[0]["recipe.json"], after[0]["recipe.json"]  # claimed anew, with the same content
    assert after == before


def test_a_model_in_both_forms_is_read_from_safetensors_with_and_without_the_option(
    home_hub: LoopbackHub, tiny_models: TinyModels, tmp_path: Path
) -> None:
    both = Path(shutil.copytree(tiny_models("llama"), tmp_path / "both"))
    (both / "pytorch_model.bin").write_bytes(pickle.dumps(Intruder(tmp_path / "intruded")))
    HfApi().create_repo("tester/both")
    HfApi().upload_folder(repo_id="tester/both", folder_path=both)
    home_hub.calls.clear()
    for model in ("tester/both", str(both)):
        for allow_pickle in (False, True):
            found = find(model, None, None, allow_pickle=allow_pickle)
            source = fetch_weights(found, tmp_path / "work")
            assert not source.pickled
            assert tensors_of(Path(source.folder)) == tensors_of(both)
    assert home_hub.calls_to("GET", "pytorch_model.bin") == []
    assert not (tmp_path / "intruded").exists()


@pytest.mark.parametrize("files", [("pytorch_model.bin",), ("pytorch_model.bin.index.json", "a.bin")])
def test_without_the_option_it_names_it_and_fetches_nothing(
    home_hub: LoopbackHub, tmp_path: Path, files: tuple[str, ...]
) -> None:
    config = b'{"model_type": "llama", "num_hidden_layers": 6}'
    home_hub.add_repository("acme/old", {"config.json": config, **dict.fromkeys(files, b"x")})
    outcome = hf_prune("acme/old", "--output", str(tmp_path / "run"))
    assert outcome.code == 1
    assert "has only pickled weights" in outcome.error()
    assert "add --allow-pickle" in outcome.error()
    assert "https://huggingface.co/spaces/safetensors/convert" in outcome.error()
    assert home_hub.calls_to("GET", "/storage/") == []


def test_pickled_files_of_another_form_are_refused_with_the_option_too(
    home_hub: LoopbackHub, tmp_path: Path
) -> None:
    home_hub.add_repository("acme/odd", {"config.json": b"{}", "model.ckpt": b"x"})
    outcome = hf_prune("acme/odd", "--allow-pickle", "--output", str(tmp_path / "run"))
    assert outcome.code == 1
    assert "--allow-pickle reads pytorch_model.bin only beside config.json" in outcome.error()


def test_a_dry_run_presumes_from_the_configuration_and_fetches_no_weights(
    home_hub: LoopbackHub, tiny_models: TinyModels, tmp_path: Path
) -> None:
    pickled = pickled_copy(tiny_models("llama"), tmp_path / "old", shards=2)
    size = sum(path.stat().st_size for path in pickled.glob("*.bin"))
    HfApi().create_repo("tester/dry")
    HfApi().upload_folder(repo_id="tester/dry", folder_path=pickled)
    home_hub.calls.clear()
    exact = json.loads(hf_prune(str(tiny_models("llama")), "--dry-run", "--json", *CUT).out)
    for model, download in (("tester/dry", size), (str(pickled), 0)):
        outcome = hf_prune(model, "--allow-pickle", "--dry-run", "--json", *CUT)
        told = json.loads(outcome.out)
        assert told["download_bytes"] == download
        assert (told["parameters"], told["size_bytes"]) == (exact["parameters"], exact["size_bytes"])
    assert home_hub.calls_to("GET", "/storage/") == []


def test_an_analysis_reads_them_too(tiny_models: TinyModels, tmp_path: Path) -> None:
    pickled = pickled_copy(tiny_models("llama"), tmp_path / "old")
    words = (str(pickled), "--samples", "4", "--seq-len", "32", "--output", str(tmp_path / "run"))
    assert "add --allow-pickle" in hf_prune("analyze", *words).error()
    assert hf_prune("analyze", *words, "--allow-pickle").code == 0


# Files that do harm, or are damaged


@pytest.mark.parametrize("old_form", [False, True])
def test_code_in_a_pickle_is_named_and_not_run(
    tiny_models: TinyModels, tmp_path: Path, old_form: bool
) -> None:
    trace = tmp_path / "intruded"
    pickled = pickled_copy(tiny_models("llama"), tmp_path / "old")
    harmful = {"model.embed_tokens.weight": Intruder(trace)}
    path = pickled / "pytorch_model.bin"
    torch.save(harmful, path, _use_new_zipfile_serialization=not old_form)
    run = tmp_path / "run"
    outcome = hf_prune(str(pickled), "--allow-pickle", *CUT, "--output", str(run))
    assert outcome.code == 1
    assert "pytorch_model.bin wants to run code when it is read (posix.mkdir)" in outcome.error()
    assert not trace.exists()
    assert list((run / "checkpoints").iterdir()) == []
    torch.load(path, weights_only=False)
    assert trace.exists()  # so it was no dud


@pytest.mark.parametrize("keep", [0, 3, 1000, -1000])
def test_a_damaged_file_is_named(tiny_models: TinyModels, tmp_path: Path, keep: int) -> None:
    pickled = pickled_copy(tiny_models("llama"), tmp_path / "old")
    path = pickled / "pytorch_model.bin"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(
        UnsupportedModel, match=r"^pytorch_model.bin cannot be read as pickled tensors \(.+\): "
    ):
        converted(pickled, tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old"]


def test_a_missing_file_is_named(tiny_models: TinyModels, tmp_path: Path) -> None:
    pickled = pickled_copy(tiny_models("llama"), tmp_path / "old", shards=3)
    (pickled / "pytorch_model-00002-of-00003.bin").unlink()
    with pytest.raises(NoSafetensors, match=r"lacks pytorch_model-00002-of-00003\.bin"):
        converted(pickled, tmp_path / "new")


@pytest.mark.filterwarnings("ignore:Validating sparse tensor invariants", "ignore:Sparse invariant checks")
@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([torch.zeros(2)], "holds a list, not tensors by name"),
        ({"w": torch.zeros(2), "epoch": 3}, "holds more than tensors: 'epoch' is of type int"),
        (
            {"w": torch.zeros(2, 2).to_sparse()},
            "w in pytorch_model.bin is stored as torch.float32, torch.sparse_coo",
        ),
        ({"w": torch.zeros(2, dtype=torch.complex64)}, "is stored as torch.complex64"),
    ],
    ids=["list", "number", "sparse", "complex"],
)
def test_what_is_no_tensor_is_refused(tmp_path: Path, content: object, said: str) -> None:
    torch.save(content, tmp_path / "pytorch_model.bin")
    with pytest.raises(HfPruneError, match=said):
        converted(tmp_path, tmp_path / "new")


# Tensor by tensor


def saved(content: object, folder: Path, **settings: object) -> dict[str, torch.Tensor]:
    """What safetensors itself reads of a pickle that was converted."""
    torch.save(content, folder / "pytorch_model.bin", **settings)
    return load_file(converted(folder, folder / "new") / "model.safetensors")


@pytest.mark.parametrize("old_form", [False, True])
def test_names_types_and_values_stay(tmp_path: Path, old_form: bool) -> None:
    whole = torch.arange(60, dtype=torch.float32).reshape(6, 10)
    content = {
        "mask": torch.tensor([True, False, True]),
        "scalar": torch.tensor(-1e4, dtype=torch.float16),
        "empty": torch.empty(0, 3),
        "part": whole[1:3],
        "turned": whole.t(),
        "repeated": torch.ones(1, 4).expand(3, 4),
        "parameter": torch.nn.Parameter(torch.ones(2, 2, dtype=torch.bfloat16)),
        "steps": torch.tensor([1, 2, 3]),
    }
    read = saved(content, tmp_path, _use_new_zipfile_serialization=not old_form)
    assert read.keys() == content.keys()
    for name, value in content.items():
        assert read[name].dtype == value.dtype
        assert torch.equal(read[name], value)


def test_a_wrapped_state_dict_is_unwrapped(tmp_path: Path) -> None:
    assert saved({"state_dict": {"w": torch.ones(2)}, "epoch": 3}, tmp_path).keys() == {"w"}


def test_a_tied_tensor_is_left_out_only_where_it_is_the_very_same(tmp_path: Path) -> None:
    one, other = torch.ones(4, 2), torch.ones(4, 2)
    same = {"lm_head.weight": one, "model.embed_tokens.weight": one, "a.weight": one}
    (tmp_path / "same").mkdir()
    (tmp_path / "equal").mkdir()
    assert saved(same, tmp_path / "same").keys() == {"model.embed_tokens.weight", "a.weight"}
    equal = {"lm_head.weight": one, "model.embed_tokens.weight": other}
    assert saved(equal, tmp_path / "equal").keys() == equal.keys()


def test_a_conversion_that_was_finished_is_not_done_again(tmp_path: Path) -> None:
    saved({"w": torch.ones(2)}, tmp_path)
    before = times_of(tmp_path / "new")
    (tmp_path / "pytorch_model.bin").unlink()
    converted(tmp_path, tmp_path / "new")
    assert times_of(tmp_path / "new") == before
