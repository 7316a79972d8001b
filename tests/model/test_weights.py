"""Tensors come out of the files as they are, and go into new files byte for byte."""

import hashlib
import json
import shutil

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from hf_prune.errors import NoSafetensors, UnsupportedModel
from hf_prune.machine.progress import silent
from hf_prune.model import weights
from hf_prune.model.weights import INDEX_FILE, read_index, write_weights


@pytest.fixture
def single(tmp_path):
    folder = tmp_path / "single"
    folder.mkdir()
    tensors = {
        "a": torch.randn(3, 5),
        "b": torch.randn(7).bfloat16(),
        "empty": torch.zeros(0, 4),
        "ids": torch.arange(6),
        "half": torch.randn(2, 2).half(),
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def write(source, target, names, replacements=None):
    target.mkdir(exist_ok=True)
    return write_weights(
        read_index(source), target, names=names, replacements=replacements or {}, parts={}, progress=silent
    )


def test_a_tensor_is_read_as_the_format_s_own_reader_reads_it(single):
    index = read_index(single)
    for name, expected in load_file(single / "model.safetensors").items():
        found = index.tensors[name].read()
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        assert torch.equal(found, expected)
    assert index.parameters == 15 + 7 + 0 + 6 + 4


def test_a_tensor_that_was_read_outlives_its_file(single):
    expected = load_file(single / "model.safetensors")["a"].clone()
    found = read_index(single).tensors["a"].read()
    shutil.rmtree(single)
    assert torch.equal(found, expected)


def test_renamed_tensors_keep_their_bytes(single, tmp_path):
    (file,) = write(single, tmp_path / "new", {"a": "x.a", "b": "x.b", "empty": "e"})
    before, after = load_file(single / "model.safetensors"), load_file(tmp_path / "new" / file.name)
    assert set(after) == {"x.a", "x.b", "e"}
    assert all(torch.equal(after[new], before[old]) for old, new in (("a", "x.a"), ("b", "x.b")))
    with safe_open(tmp_path / "new" / file.name, "pt") as opened:
        assert opened.metadata() == {"format": "pt"}


def test_the_same_tensors_give_the_same_bytes_and_the_hash_that_is_told(single, tmp_path):
    (first,) = write(single, tmp_path / "one", {"a": "a", "b": "b"})
    (second,) = write(single, tmp_path / "two", {"a": "a", "b": "b"})
    assert first == second
    content = (tmp_path / "one" / first.name).read_bytes()
    assert (hashlib.sha256(content).hexdigest(), len(content)) == (first.sha256, first.size_bytes)


def test_a_replacement_takes_the_place_of_what_is_stored_in_its_dtype(single, tmp_path):
    new = torch.randn(7)
    (file,) = write(single, tmp_path / "new", {"a": "a", "b": "b"}, {"b": new})
    assert torch.equal(load_file(tmp_path / "new" / file.name)["b"], new.bfloat16())
    with pytest.raises(ValueError, match="replacement"):
        write(single, tmp_path / "wrong", {"b": "b"}, {"b": torch.randn(8)})


def test_the_division_into_files_follows_the_source_and_an_empty_file_vanishes(tiny_models, tmp_path):
    source = tiny_models("llama", max_shard_size="30KB")
    index = read_index(source)
    files = sorted({tensor.path.name for tensor in index.tensors.values()})
    assert len(files) > 3
    names = {name: name for name, tensor in index.tensors.items() if tensor.path.name != files[1]}
    written = write(source, tmp_path / "new", names)
    assert [file.name for file in written] == [
        f"model-{number:05d}-of-{len(files) - 1:05d}.safetensors" for number in range(1, len(files))
    ]
    stored = json.loads((tmp_path / "new" / INDEX_FILE).read_text())
    assert set(stored["weight_map"]) == set(names)
    again = read_index(tmp_path / "new")
    assert stored["metadata"]["total_size"] == again.size_bytes
    assert all(torch.equal(again.tensors[name].read(), index.tensors[name].read()) for name in names)


def test_a_file_that_was_cut_short_is_refused(single):
    path = single / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-6])
    last = max(read_index(single).tensors.values(), key=lambda tensor: tensor.start)
    with pytest.raises(UnsupportedModel, match="ends in the middle"):
        last.read()
    path.write_bytes(content[:20])
    with pytest.raises(UnsupportedModel, match="not a whole safetensors file"):
        read_index(single)


def test_a_folder_without_weights_or_with_a_file_missing_is_refused(tmp_path):
    with pytest.raises(NoSafetensors, match="holds neither"):
        read_index(tmp_path)
    (tmp_path / INDEX_FILE).write_text(json.dumps({"weight_map": {"a": "gone.safetensors"}}))
    with pytest.raises(NoSafetensors, match=r"gone\.safetensors"):
        read_index(tmp_path)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("chunk", [7, 64, 1 << 20])
def test_a_part_of_a_tensor_is_written_a_few_rows_at_a_time(tmp_path, monkeypatch, axis, chunk):
    monkeypatch.setattr(weights, "COPY_CHUNK", chunk)
    whole = torch.randn(5, 6, 4)
    save_file(
        {"each": whole, "other": torch.ones(2)}, tmp_path / "model.safetensors", metadata={"format": "pt"}
    )
    index, kept = read_index(tmp_path), (0, 2, 3)
    (tmp_path / "new").mkdir()
    write_weights(
        index,
        tmp_path / "new",
        names={"each": "each", "other": "other"},
        replacements={},
        parts={"each": index.tensors["each"].part(axis, kept)},
        progress=silent,
    )
    written = load_file(tmp_path / "new" / "model.safetensors")
    assert torch.equal(written["each"], whole.index_select(axis, torch.tensor(kept)))
    assert torch.equal(written["other"], torch.ones(2))
