"""The matrices against a brute-force computation from a plain forward with hooks on the layers."""

import json
import math
import os
import subprocess
import sys
from itertools import pairwise

import pytest
import torch
from transformers import AutoTokenizer

from hf_prune.errors import RecipeError
from hf_prune.machine.processes import Ranks
from hf_prune.machine.progress import silent
from hf_prune.model.activations import ActivationMemory
from hf_prune.model.decoder import open_decoder
from hf_prune.records import Block, Similarity, from_data
from hf_prune.records.blocks import best_blocks
from hf_prune.stages.measure import similarity as measuring
from hf_prune.stages.measure.similarity import measure, share_of_process, token_cosines
from hf_prune.stages.texts.text import BUILT_IN_CALIBRATION, built_in_text
from hf_prune.stages.texts.windows import to_windows
from tests.support.checkout import ROOT
from tests.support.plain import boundaries, layers_of, plain_model, some_tokens, windows_of

CPU = torch.device("cpu")


def measured(folder, windows, memory=None):
    return measure(open_decoder(folder, CPU, memory), windows, silent)


def values_of(similarity):
    """Every number of a record, the matrices' diagonals too."""
    matrices = (similarity.angular_last_token, similarity.angular_all_tokens, similarity.cosine_all_tokens)
    rows = [row for matrix in matrices for row in matrix] + [s.values for s in similarity.layer_scores]
    return [value for row in rows for value in row]


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
    assert similarity.scores("bi") == pytest.approx(influence, abs=tolerance)


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


@pytest.mark.parametrize("layer", range(6))
def test_a_layer_that_adds_nothing_is_the_first_to_go(with_identity_layer, layer):
    similarity = measured(with_identity_layer([layer]), windows_of(some_tokens(4, 24)))
    assert similarity.angular_last_token[layer][layer + 1] < 1e-3
    assert similarity.scores("bi")[layer] == pytest.approx(0, abs=1e-6)
    assert best_blocks(similarity.angular_last_token)[0].block == Block(start=layer, end=layer + 1)
    others = [similarity.scores("bi")[other] for other in range(6) if other != layer]
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
    assert similarity.scores("bi") == pytest.approx(influence, abs=1e-5)


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


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
def test_the_relative_magnitude_is_what_a_layer_adds_over_what_leaves_it_without_position_0(
    tiny_models, family
):
    folder, tokens = tiny_models(family), some_tokens(90, 50)  # three batches
    rows = [state.double() for state in boundaries(plain_model(folder), tokens)]
    expected = [
        ((after - before).norm(dim=-1) / after.norm(dim=-1))[:, 1:].mean().item()
        for before, after in pairwise(rows)
    ]
    found = measured(folder, windows_of(tokens)).scores("relative-magnitude")
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
def test_the_magnitude_of_a_layer_sums_its_weights_and_leaves_biases_out(tiny_models, family):
    folder = tiny_models(family)
    parameters = [dict(layer.named_parameters()) for layer in layers_of(plain_model(folder))]
    expected = [
        sum(weight.double().abs().sum().item() for name, weight in layer.items() if name.endswith("weight"))
        for layer in parameters
    ]
    assert any(name.endswith("bias") for name in parameters[0]) == (family == "gpt2")
    similarity = measured(folder, windows_of(some_tokens(2, 8)))
    assert similarity.scores("magnitude") == pytest.approx(expected, rel=1e-9)


def test_biases_do_not_count_as_magnitude_whatever_their_size(tiny_models):
    folder = tiny_models("gpt2")
    decoder = open_decoder(folder, CPU)
    with decoder.layer(0):
        layer = decoder.skeleton.layers[0]
        before = measuring.weight_magnitude(layer)
        layer.mlp.c_fc.bias.fill_(7)
        assert measuring.weight_magnitude(layer) == before
        layer.mlp.c_fc.weight.fill_(7)
        assert measuring.weight_magnitude(layer) > before


def test_scores_know_the_text_they_were_measured_on(tiny_models):
    windows = windows_of(some_tokens(2, 8))
    similarity = measured(tiny_models("llama"), windows)
    assert similarity.calibration == windows.record
    texts = {scores.criterion: scores.text for scores in similarity.layer_scores}
    assert texts == {"bi": windows.record, "relative-magnitude": windows.record, "magnitude": None}
    assert similarity.scores("taylor") is None


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
@pytest.mark.parametrize("limit", [0, 400_000, 1_000_000])  # states of one boundary take 576,000
def test_states_that_went_through_a_file_give_the_same_record(tiny_models, tmp_path, family, limit):
    windows = windows_of(some_tokens(90, 50))
    memory = ActivationMemory(limit=limit, folder=tmp_path)
    assert measured(tiny_models(family), windows, memory) == measured(tiny_models(family), windows)
    assert memory.in_use == 0
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def threads():
    """Sets how many threads compute; at the end as many as before."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_the_number_of_threads_does_not_matter(tiny_models, threads):
    windows, found = windows_of(some_tokens(90, 50)), []
    for count in (1, 2):
        threads(count)
        found.append(values_of(measured(tiny_models("llama"), windows)))
    assert found[0] == pytest.approx(found[1], abs=1e-5)


SHARED = [(7, 24), (91, 50)]  # windows and their length: an odd number, and more than are sampled
BY_SEVERAL = """
import sys
from pathlib import Path
import torch
from hf_prune.machine import processes
from hf_prune.model.decoder import open_decoder
from hf_prune.stages.measure.similarity import measure
from hf_prune.machine.progress import silent
from hf_prune.records import to_json
from tests.support.plain import some_tokens, windows_of

folder, output, *shapes = sys.argv[1:]
cpu = torch.device("cpu")
together = processes.join(cpu)
for shape in shapes:
    windows = windows_of(some_tokens(*map(int, shape.split("x"))))
    similarity = measure(open_decoder(Path(folder), cpu), windows, silent, together)
    Path(output, f"{shape}-{together.rank}.json").write_text(to_json(similarity))
told = [together.broadcast(finder == together.rank) for finder in range(together.count)]
Path(output, f"told-{together.rank}.json").write_text(to_json([together.count, together.leads, told]))
processes.leave()
"""


@pytest.fixture(scope="module")
def by_two_processes(tiny_models, tmp_path_factory):
    """A folder with what each of two processes came to, started as torchrun starts them."""
    output = tmp_path_factory.mktemp("processes")
    script = output / "script.py"
    script.write_text(BY_SEVERAL)
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    shapes = [f"{sequences}x{length}" for sequences, length in SHARED]
    subprocess.run(
        [sys.executable, *start, str(tiny_models("llama")), str(output), *shapes],
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        timeout=120,
    )
    return output


@pytest.mark.slow
@pytest.mark.parametrize(("sequences", "length"), SHARED)
def test_two_processes_measure_what_one_does(tiny_models, by_two_processes, sequences, length):
    alone = measured(tiny_models("llama"), windows_of(some_tokens(sequences, length)))
    first, second = (
        from_data(
            Similarity, json.loads((by_two_processes / f"{sequences}x{length}-{rank}.json").read_text())
        )
        for rank in range(2)
    )
    assert first == second
    assert values_of(first) == pytest.approx(values_of(alone), abs=1e-6)
    assert (first.num_layers, first.calibration) == (alone.num_layers, alone.calibration)
    assert first.sampled_tokens == alone.sampled_tokens
    described = [(scores.criterion, scores.text) for scores in first.layer_scores]
    assert described == [(scores.criterion, scores.text) for scores in alone.layer_scores]


@pytest.mark.slow
def test_what_the_first_process_found_is_told_to_all(by_two_processes):
    for rank in range(2):
        count, leads, told = json.loads((by_two_processes / f"told-{rank}.json").read_text())
        assert (count, leads, told) == (2, rank == 0, [True, False])


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_processes_share_out_every_window_once_and_in_order(count):
    windows = windows_of(some_tokens(7, 8))
    parts = [share_of_process(windows, Ranks(rank=rank, count=count)) for rank in range(count)]
    assert torch.equal(torch.cat([part.ids for part, _ in parts]), windows.ids)
    sizes = [len(part.ids) for part, _ in parts]
    assert max(sizes) - min(sizes) <= 1
    assert [first for _, first in parts] == [sum(sizes[:rank]) for rank in range(count)]


def test_fewer_windows_than_processes_are_refused():
    told = "2 calibration windows cannot be shared by 3 processes: raise --samples or start fewer processes"
    with pytest.raises(RecipeError, match=told):
        share_of_process(windows_of(some_tokens(2, 8)), Ranks(rank=0, count=3))
