"""Hidden states stay in memory up to the limit and go to a file beyond it, bit for bit."""

import errno
import gc
import io
import os
from pathlib import Path

import pytest
import torch

from hf_prune.machine.disk import DiskFull
from hf_prune.model.activations import ActivationMemory, Activations

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn, torch.int64]
BATCH = 3 * 5 * 4 * 4  # bytes of a float32 batch as drawn below


def drawn(dtype=torch.float32, batch=3):
    return torch.randn(batch, 5, 4).mul(50).to(dtype)


def stored(memory, *batches):
    states = Activations(memory)
    for batch in batches:
        states.append(batch)
    return states


def open_files():
    """What this process holds open, by the names that the system has for it."""
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            found.append(os.readlink(descriptor))
        except OSError:  # the listing's own, closed by now
            continue
    return found


def same(one, other):
    """Equal in dtype, shape and every bit."""
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    first, second = (tensor.contiguous().flatten().view(torch.uint8) for tensor in (one, other))
    return torch.equal(first, second)


@pytest.mark.parametrize("limit", [None, 0, BATCH, 2 * BATCH + 1])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_what_goes_in_comes_out_bit_for_bit(tmp_path, limit, dtype):
    batches = [drawn(dtype), drawn(dtype, batch=1), drawn(dtype), drawn(dtype)[:, ::2]]
    states = stored(ActivationMemory(limit=limit, folder=tmp_path), *batches)
    assert len(states) == 4
    assert all(same(found, batch) for found, batch in zip(states, batches, strict=True))
    assert same(states[-1], batches[-1])
    assert [same(found, batch) for found, batch in zip(states[1:3], batches[1:3], strict=True)] == [True] * 2


def test_values_that_are_no_numbers_survive_the_file(tmp_path):
    strange = torch.tensor([[float("nan"), float("inf"), -float("inf"), -0.0, 1e-45]])
    assert same(stored(ActivationMemory(limit=0, folder=tmp_path), strange)[0], strange)


@pytest.mark.parametrize(("limit", "in_memory"), [(None, 4), (0, 0), (BATCH, 1), (4 * BATCH - 1, 3)])
def test_batches_stay_in_memory_as_long_as_they_fit(tmp_path, limit, in_memory):
    memory = ActivationMemory(limit=limit, folder=tmp_path)
    batches = [drawn() for _ in range(4)]
    states = stored(memory, *batches)
    held = [states[number].data_ptr() == batch.data_ptr() for number, batch in enumerate(batches)]
    assert held == [True] * in_memory + [False] * (4 - in_memory)
    assert memory.in_use == in_memory * BATCH


def test_a_small_batch_fits_where_a_large_one_did_not(tmp_path):
    memory = ActivationMemory(limit=BATCH, folder=tmp_path)
    small, large, last = drawn(batch=1), drawn(batch=3), drawn(batch=2)
    states = stored(memory, small, large, last)
    held = [
        states[number].data_ptr() == batch.data_ptr() for number, batch in enumerate((small, large, last))
    ]
    assert held == [True, False, True]


def test_all_stores_of_a_run_share_one_limit_and_give_back_what_they_took(tmp_path):
    memory = ActivationMemory(limit=3 * BATCH, folder=tmp_path)
    first, second = stored(memory, drawn(), drawn()), stored(memory, drawn(), drawn())
    assert memory.in_use == 3 * BATCH
    del second
    gc.collect()
    assert memory.in_use == 2 * BATCH
    assert len(first) == 2
    del first
    gc.collect()
    assert memory.in_use == 0


@pytest.mark.parametrize("limit", [None, BATCH, 0])
@pytest.mark.parametrize("other", DTYPES, ids=str)
def test_a_batch_can_be_replaced_by_one_of_another_dtype(tmp_path, limit, other):
    batches = [drawn(torch.bfloat16) for _ in range(4)]
    states = stored(ActivationMemory(limit=limit, folder=tmp_path), *batches)
    replaced = {0: drawn(other), 2: drawn(other), 3: drawn(other)}
    for number, batch in replaced.items():
        states[number] = batch
    states[4] = drawn(other)
    for number, batch in enumerate(batches):
        assert same(states[number], replaced.get(number, batch))
    assert len(states) == 5
    assert states[4].dtype == other


def test_what_was_read_does_not_change_with_what_is_written(tmp_path):
    states = stored(ActivationMemory(limit=0, folder=tmp_path), torch.ones(2, 3))
    before = states[0]
    states[0] = torch.zeros(2, 3)
    assert before.sum() == 6
    before.fill_(9)
    assert states[0].sum() == 0


@pytest.mark.parametrize("limit", [None, 0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_rows_are_a_part_of_a_batch(tmp_path, limit, dtype):
    batches = [drawn(dtype), torch.randn(700, 40).to(dtype)]
    states = stored(ActivationMemory(limit=limit, folder=tmp_path), *batches)
    for start, stop in [(0, 700), (0, 1), (123, 456), (699, 700), (5, 5)]:
        assert same(states.rows(1, start, stop), batches[1][start:stop])
    assert same(states.rows(0, 1, 3), batches[0][1:3])


@pytest.mark.parametrize("limit", [None, 0])
def test_a_batch_of_nothing_is_kept_too(tmp_path, limit):
    states = stored(ActivationMemory(limit=limit, folder=tmp_path), torch.empty(0, 7), torch.ones(1, 7))
    assert states[0].shape == (0, 7)
    assert states[1].sum() == 7


def test_no_file_is_made_while_there_is_room(tmp_path):
    before = open_files()
    states = stored(ActivationMemory(limit=2 * BATCH, folder=tmp_path), drawn(), drawn())
    assert [name for name in open_files() if str(tmp_path) in name] == []
    states.append(drawn())
    assert len([name for name in open_files() if str(tmp_path) in name]) == 1
    assert len(open_files()) == len(before) + 1


def test_the_file_has_no_name_and_is_gone_with_its_store(tmp_path):
    states = stored(ActivationMemory(limit=0, folder=tmp_path), drawn(), drawn())
    assert len(states) == 2
    assert list(tmp_path.iterdir()) == []
    assert any(str(tmp_path) in name for name in open_files())
    del states
    gc.collect()
    assert not any(str(tmp_path) in name for name in open_files())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_an_error_in_plain_words(tmp_path, monkeypatch):
    states = Activations(ActivationMemory(limit=0, folder=tmp_path))
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **settings: io.FileIO("/dev/full", "r+"))
    with pytest.raises(DiskFull, match=f"filled up while writing to {tmp_path}") as caught:
        states.append(drawn())
    assert caught.value.__cause__.errno == errno.ENOSPC


def test_states_that_carry_gradients_are_kept_without_them(tmp_path):
    state = torch.ones(2, 3, requires_grad=True)
    kept = stored(ActivationMemory(limit=0, folder=tmp_path), state * 2)[0]
    assert kept.sum() == 12
    assert not kept.requires_grad
