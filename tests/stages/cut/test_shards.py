"""The result in files as large as asked, with every byte of every tensor as it was."""

import hashlib
import json

import pytest
import torch
from safetensors.torch import load_file

from hf_prune.machine.progress import silent
from hf_prune.model.weights import INDEX_FILE, StoredTensor, read_index
from hf_prune.records import Checkpoint
from hf_prune.stages.cut.shards import assign_files, reshard
from tests.support.tool import bytes_of


def tensor(name, size):
    return StoredTensor(name=name, dtype="U8", shape=(size,), path=None, start=0, size_bytes=size)


@pytest.mark.parametrize(
    ("sizes", "most", "expected"),
    [
        ([4, 4, 4], 8, [0, 0, 1]),
        ([4, 9, 1], 8, [0, 1, 2]),
        ([9, 9], 8, [0, 1]),
        ([1, 1, 1], 3, [0, 0, 0]),
        ([0, 8, 0, 1], 8, [0, 0, 0, 1]),
    ],
)
def test_a_file_takes_as_many_tensors_in_turn_as_fit(sizes, most, expected):
    tensors = [tensor(f"{number}", size) for number, size in enumerate(sizes)]
    assert list(assign_files(tensors, most).values()) == expected


@pytest.fixture
def resharded(tiny_models, tmp_path):
    folder = tiny_models("llama")
    size = read_index(folder).size_bytes
    checkpoint = Checkpoint(variant="cut", folder="cut", parameters=1, size_bytes=size, weights=())
    return folder, tmp_path, reshard(checkpoint, folder, tmp_path, 50_000, silent)


def test_tensors_keep_their_bytes_and_files_their_limit(resharded):
    folder, target, checkpoint = resharded
    assert len(checkpoint.weights) > 2
    found = {}
    for file in checkpoint.weights:
        tensors = load_file(target / file.name)
        assert len(tensors) == 1 or sum(t.nbytes for t in tensors.values()) <= 50_000
        assert hashlib.sha256((target / file.name).read_bytes()).hexdigest() == file.sha256
        found |= tensors
    expected = load_file(folder / "model.safetensors")
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_the_index_names_the_file_of_each_tensor_and_nothing_else_changes(resharded):
    folder, target, checkpoint = resharded
    index = json.loads((target / INDEX_FILE).read_text())
    assert index["metadata"]["total_size"] == checkpoint.size_bytes
    for name, file in index["weight_map"].items():
        assert name in load_file(target / file)
    before, after = bytes_of(folder), bytes_of(target)
    weights = {"model.safetensors", INDEX_FILE, *(file.name for file in checkpoint.weights)}
    assert {n: b for n, b in after.items() if n not in weights} == {
        n: b for n, b in before.items() if n not in weights
    }


def test_one_file_comes_of_many_where_it_may_be_as_large(tiny_models, tmp_path):
    folder = tiny_models("llama", max_shard_size="40KB")
    assert (folder / INDEX_FILE).is_file()
    checkpoint = Checkpoint(variant="cut", folder="cut", parameters=1, size_bytes=1, weights=())
    written = reshard(checkpoint, folder, tmp_path, 10**9, silent)
    assert [file.name for file in written.weights] == ["model.safetensors"]
    assert not (tmp_path / INDEX_FILE).exists()
    assert len(load_file(tmp_path / "model.safetensors")) == len(read_index(folder).tensors)
