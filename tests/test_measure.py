"""The matrices against a brute-force computation from a plain forward with hooks on the layers."""

import math
import shutil
from itertools import pairwise

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from hf_prune import measure as measuring
from hf_prune.calibration import BUILT_IN_CALIBRATION, built_in_text, to_windows
from hf_prune.choose import best_blocks
from hf_prune.decoder import open_decoder
from hf_prune.measure import measure, token_cosines
from hf_prune.progress import silent
from hf_prune.records import Block
from tests.plain import boundaries, plain_model, some_tokens, windows_of

CPU = torch.device("cpu")


def measured(folder, windows):
    return measure(open_decoder(folder, CPU), windows, silent)


def brute_force(states):
    """Angular distances (last token, all tokens), cosines and Block Influence, pair by pair in float64."""
    size = len(states)
    rows = [state.double() for state in states]  # (sequences, length, hidden)
    cosine = torch.empty(size, size, *rows[0].shape[:2], dtype=torch.float64)
    for one in range(size):
        for other in range(size):
            dot = torch.einsum("slh,slh->sl", rows[one], rows[other])
            lengths = torch.linalg.vector_norm(rows[one], dim=-1) * torch.linalg.vector_norm(
                rows[other], dim=-1
            )
            cosine[one, other] = (dot / lengths).clamp(-1, 1)
    angle = cosine.arccos() / math.pi
    influence = [1 - cosine[layer, layer + 1].mean().item() for layer in range(size - 1)]
    return angle[..., -1].mean(-1), angle.mean((-2, -1)), cosine.mean((-2, -1)), influence


def assert_equals_brute_force(similarity, states, tolerance):
    last, everywhere, cosine, influence = brute_force(states)
    size = len(states)
    assert similarity.num_layers == size - 1
    found = (similarity.angular_last_token, similarity.angular_all_tokens, similarity.cosine_all_tokens)
    for matrix, expected in zip(found, (last, everywhere, cosine), strict=True):
        matrix = torch.tensor(matrix, dtype=torch.float64)
        assert matrix.shape == (size, size)
        torch.testing.assert_close(matrix, expected, rtol=0, atol=tolerance)
    assert similarity.block_influence == pytest.approx(influence, abs=tolerance)


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
def test_every_matrix_equals_brute_force_on_the_plain_models_own_stream(tiny_models, family):
    folder, tokens = tiny_models(family), some_tokens(5, 24)
    similarity = measured(folder, windows_of(tokens))
    assert similarity.sampled_tokens == 5 * 24
    # The diagonal of arccos is its steepest place: 1e-4 of an angle is 5e-8 of a cosine.
    assert_equals_brute_force(similarity, boundaries(plain_model(folder), tokens), 1e-4)


@pytest.mark.slow
def test_every_matrix_equals_brute_force_on_a_real_model(real_model):
    tokenizer = AutoTokenizer.from_pretrained(real_model)
    windows = to_windows(built_in_text(BUILT_IN_CALIBRATION), tokenizer, num_sequences=4, length=128)
    assert windows.ids.shape == (4, 128)
    states = boundaries(plain_model(real_model), windows.ids)
    assert len(states) == 31
    assert_equals_brute_force(measured(real_model, windows), states, 1e-4)


def test_the_last_hidden_state_of_the_library_would_be_wrong(tiny_models):
    folder, tokens = tiny_models("llama"), some_tokens(5, 24)
    model = plain_model(folder)
    torch.nn.init.uniform_(model.model.norm.weight, 0.1, 3)  # as in a trained model
    states = boundaries(model, tokens)
    with torch.no_grad():
        told = model(input_ids=tokens, use_cache=False, output_hidden_states=True).hidden_states
    assert len(told) == len(states) == 7
    for mine, theirs in zip(states[:-1], told[:-1], strict=True):
        assert torch.equal(mine, theirs)
    wrong, right = brute_force(told), brute_force(states)
    assert (wrong[0][0, -1] - right[0][0, -1]).abs() > 0.01
    assert abs(wrong[3][-1] - right[3][-1]) > 0.01
    torch.testing.assert_close(
        torch.tensor(measured(folder, windows_of(tokens)).angular_last_token).double()[:, -1],
        right[0][:, -1],
        rtol=0,
        atol=1e-4,
    )


@pytest.fixture
def with_identity_layer(tiny_models, tmp_path):
    """A copy of a tiny model whose layers in the list add nothing."""

    def plant(layers, family="llama"):
        folder = shutil.copytree(tiny_models(family), tmp_path / "-".join(map(str, layers)))
        weights = load_file(folder / "model.safetensors")
        for layer in layers:
            for name in ("self_attn.o_proj", "mlp.down_proj"):
                weights[f"model.layers.{layer}.{name}.weight"].zero_()
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return folder

    return plant


@pytest.mark.parametrize("layer", range(6))
def test_a_layer_that_adds_nothing_is_the_first_to_go(with_identity_layer, layer):
    similarity = measured(with_identity_layer([layer]), windows_of(some_tokens(4, 24)))
    assert similarity.angular_last_token[layer][layer + 1] < 1e-3
    assert similarity.block_influence[layer] == pytest.approx(0, abs=1e-6)
    assert best_blocks(similarity.angular_last_token)[0].block == Block(start=layer, end=layer + 1)
    others = [similarity.block_influence[other] for other in range(6) if other != layer]
    assert min(others) > 1e-3


@pytest.mark.parametrize("start", range(4))
def test_three_layers_that_add_nothing_are_the_best_block_of_three(with_identity_layer, start):
    layers = range(start, start + 3)
    similarity = measured(with_identity_layer(layers), windows_of(some_tokens(4, 24)))
    assert best_blocks(similarity.angular_last_token)[2].block == Block(start=start, end=start + 3)


def test_two_runs_give_the_same_record(tiny_models):
    windows = windows_of(some_tokens(5, 24))
    assert measured(tiny_models("qwen3"), windows) == measured(tiny_models("qwen3"), windows)


def test_matrices_are_symmetric_with_an_exact_diagonal(tiny_models):
    similarity = measured(tiny_models("qwen3"), windows_of(some_tokens(3, 24)))
    for matrix, own in (
        (similarity.angular_last_token, 0.0),
        (similarity.angular_all_tokens, 0.0),
        (similarity.cosine_all_tokens, 1.0),
    ):
        assert [matrix[place][place] for place in range(7)] == [own] * 7
        assert matrix == tuple(zip(*matrix, strict=True))


def test_batches_do_not_change_the_averages(tiny_models):
    folder, tokens = tiny_models("llama"), some_tokens(90, 50)  # 40 sequences a batch, the last has ten
    similarity = measured(folder, windows_of(tokens))
    states = boundaries(plain_model(folder), tokens)
    last, _, _, influence = brute_force(states)
    torch.testing.assert_close(torch.tensor(similarity.angular_last_token).double(), last, rtol=0, atol=1e-4)
    assert similarity.block_influence == pytest.approx(influence, abs=1e-5)


def test_tokens_are_sampled_evenly_over_all_batches(tiny_models, monkeypatch):
    monkeypatch.setattr(measuring, "SAMPLED_TOKENS", 1000)
    folder, tokens = tiny_models("llama"), some_tokens(90, 50)
    similarity = measured(folder, windows_of(tokens))
    chosen = torch.arange(0, 4500, 5)
    assert similarity.sampled_tokens == 900
    sampled = [state.flatten(0, 1)[chosen][None] for state in boundaries(plain_model(folder), tokens)]
    _, everywhere, cosine, _ = brute_force(sampled)
    for matrix, expected in (
        (similarity.angular_all_tokens, everywhere),
        (similarity.cosine_all_tokens, cosine),
    ):
        torch.testing.assert_close(torch.tensor(matrix).double(), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("num_tokens", [1, 4095, 4096, 4097, 8192, 64 * 512, 64 * 511])
def test_an_odd_stride_samples_at_most_the_limit_and_no_token_twice(num_tokens):
    chosen = measuring._sampled_positions(num_tokens, CPU).tolist()
    assert 0 < len(chosen) <= measuring.SAMPLED_TOKENS
    assert len(set(chosen)) == len(chosen)
    assert chosen[-1] < num_tokens
    assert {after - before for before, after in pairwise(chosen)} <= {1, 3, 5, 7, 9, 11}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_cosine_is_of_rows_within_its_bounds_and_in_float32(dtype):
    rows = torch.randn(2500, 64).to(dtype)
    other = torch.randn(2500, 64).to(dtype)
    cosines = token_cosines(rows, other)
    expected = torch.nn.functional.cosine_similarity(rows.double(), other.double(), dim=-1)
    assert cosines.dtype == torch.float32
    torch.testing.assert_close(cosines.double(), expected, rtol=0, atol=1e-6)
    assert token_cosines(rows, rows).max() <= 1
    assert token_cosines(rows, -rows).min() >= -1
    assert token_cosines(torch.zeros(1, 64), rows[:1]).tolist() == [0]


def test_large_half_precision_states_do_not_overflow():
    rows = torch.full((3, 64), 30_000.0, dtype=torch.float16)
    assert token_cosines(rows, rows).tolist() == pytest.approx([1, 1, 1])
