"""What is trained follows from what was asked for and what the machine has."""

from dataclasses import replace

import pytest

from hf_prune.errors import RecipeError
from hf_prune.machine.environment import Machine
from hf_prune.recipe.recipe import Recipe
from hf_prune.records import Anatomy
from hf_prune.stages.heal.plan import (
    LEARNING_RATE,
    LONGEST_AUTO,
    MOST_TOKENS,
    approximate_tokens,
    plan_healing,
)
from hf_prune.stages.texts.text import Text

GPU = Machine(
    device="cuda", free_memory=80 * 10**9, free_disk=10**12, operations_per_second=3e14, processes=1
)
CPU = replace(GPU, device="cpu", operations_per_second=1e11)
LAYER = 202_383_360  # of Llama 2 7B


def seven_billion(layers):
    return Anatomy(
        architecture="LlamaForCausalLM",
        auto_class="AutoModelForCausalLM",
        model_type="llama",
        num_layers=layers,
        layer_path="model.layers",
        hidden_size=4096,
        vocabulary_size=32000,
        dtype="BF16",
        parameters=layers * LAYER + 2 * 32000 * 4096,
        parameters_per_layer=(LAYER,) * layers,
        size_bytes=2 * (layers * LAYER + 2 * 32000 * 4096),
        tied_embeddings=False,
        key_value_bytes_per_token=None,
    )


def plan(machine=GPU, *, text_tokens=5_000_000, gaps=1, left=None, **asked):
    recipe = Recipe(model="m", sequence_length=2048, **asked)
    return plan_healing(recipe, seven_billion(32), left or seven_billion(24), gaps, text_tokens, machine)


def test_on_a_cpu_nothing_is_trained_unasked_and_the_time_is_told():
    decided = plan(CPU)
    assert decided.method == "none"
    assert "--heal lora would take about" in decided.reason
    assert plan(CPU, heal="lora").method == "lora"


def test_a_gpu_that_holds_the_model_trains_lora_on_it_as_it_is():
    decided = plan()
    assert (decided.method, decided.objective) == ("lora", "predictions")
    assert "fits into this GPU" in decided.reason


def test_a_smaller_gpu_trains_it_in_4_bits():
    decided = plan(replace(GPU, free_memory=12 * 10**9))
    assert decided.method == "qlora"
    assert 2 * 10**9 < decided.memory_bytes < 12 * 10**9


def test_a_gpu_that_is_too_small_even_for_that_trains_nothing_and_says_why():
    decided = plan(replace(GPU, free_memory=2 * 10**9))
    assert decided.method == "none"
    assert "2 GB are free" in decided.reason


def test_auto_does_not_spend_the_night_unasked():
    slow = replace(GPU, operations_per_second=1e12)
    decided = plan(slow)
    assert decided.method == "none"
    assert "ask for it with --heal lora" in decided.reason
    asked = plan(slow, heal="lora")
    assert asked.seconds > LONGEST_AUTO


def test_as_many_windows_pass_at_once_as_the_memory_holds():
    sizes = [plan(replace(GPU, free_memory=free * 10**9), heal="lora").micro_batch for free in (20, 40, 200)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1] == plan(heal="lora").batch == 16


def test_several_processes_share_a_step():
    alone, shared = plan(heal="lora"), plan(replace(GPU, processes=4), heal="lora")
    assert shared.batch == alone.batch
    assert shared.micro_batch <= shared.batch // 4
    assert shared.seconds == pytest.approx(alone.seconds / 4)


@pytest.mark.parametrize("processes", [1, 3])
@pytest.mark.parametrize("heal_batch", [None, 5, 6, 16])
def test_the_plan_tells_the_tokens_and_the_windows_a_step_that_are_trained_on(processes, heal_batch):
    decided = plan(
        replace(GPU, processes=processes), heal="lora", heal_batch=heal_batch, text_tokens=1001 * 2048
    )
    step = decided.batch * decided.sequence_length
    assert decided.num_tokens % step == 0
    assert 1001 * 2048 - step < decided.num_tokens <= 1001 * 2048
    assert decided.batch % (decided.micro_batch * processes) == 0


def test_a_short_text_is_learnt_in_small_steps():
    assert plan(text_tokens=300 * 2048, heal="lora").batch == 2
    assert plan(text_tokens=300 * 2048, heal="lora", heal_batch=16).batch == 16


def test_where_the_disk_cannot_hold_the_originals_predictions_the_text_is_learnt():
    decided = plan(replace(GPU, free_disk=10**9), heal="lora")
    assert decided.objective == "text"
    assert "1 GB are free" in decided.objective_reason
    assert plan(replace(GPU, free_disk=10**9), heal="lora", distill=True).objective == "predictions"
    assert plan(heal="lora", distill=False).objective == "text"


@pytest.mark.parametrize(("distill", "objective"), [(None, "states"), (True, "predictions"), (False, "text")])
def test_a_replacing_layer_learns_states_unless_something_else_is_asked_for(distill, objective):
    assert plan(heal="replace", distill=distill).objective == objective


def test_a_layer_cannot_be_replaced_before_the_first():
    with pytest.raises(RecipeError, match="nothing comes before layer 0"):
        plan(heal="replace", gaps=0)


def test_a_tied_head_is_trained_only_where_that_is_said():
    tied = replace(seven_billion(24), tied_embeddings=True)
    assert plan(heal="partial").train_head
    assert not plan(heal="partial", left=tied).train_head
    assert plan(heal="partial", left=tied, train_head=True).train_head
    assert not plan(heal="lora").train_head


def test_the_learning_rate_is_the_methods_or_the_users_and_smaller_for_wide_models():
    wide = replace(seven_billion(24), hidden_size=8192)
    assert plan(heal="lora").learning_rate == LEARNING_RATE["lora"]
    assert plan(heal="lora", left=wide).learning_rate == pytest.approx(0.1 * LEARNING_RATE["lora"])
    assert plan(heal="lora", left=wide, lr=2e-5).learning_rate == 2e-5


def test_what_lora_learns_is_scaled_by_alpha_over_the_rank_and_by_nothing_where_that_is_not_said():
    assert (plan(heal="lora").alpha, plan(heal="lora").adapter_scale) == (64, 1.0)
    assert plan(heal="lora", rank=8).adapter_scale == 1.0
    asked = plan(heal="qlora", rank=8, lora_alpha=16)
    assert (asked.alpha, asked.adapter_scale) == (16, 2.0)
    assert (plan(heal="partial", lora_alpha=16).alpha, plan(heal="replace").alpha) == (0, 0)


def test_a_long_text_is_read_to_a_limit_and_a_short_one_again_if_asked_for():
    assert plan(text_tokens=10**9, heal="lora").num_tokens <= MOST_TOKENS
    assert plan(text_tokens=10**9, heal="lora", heal_tokens=50_000_000).num_tokens > 49_000_000
    assert plan(text_tokens=100_000, heal="lora", heal_tokens=400_000).num_tokens > 390_000


def test_without_a_tokenizer_four_characters_are_a_token():
    assert approximate_tokens(Text(name="t", dataset=None, documents=("abcd" * 10, "abcdefgh"))) == 12
    assert approximate_tokens(None) == 0


def test_what_is_grown_or_sorted_is_trained_also_on_a_cpu_where_nobody_names_a_method():
    grown = plan(CPU, grow="auto", drop_layers=0, left=seven_billion(40))
    assert (grown.method, grown.objective) == ("grown", "text")  # knowledge that the original lacks
    ordered = plan(CPU, depths="12,16", drop_layers=0, left=seven_billion(32))
    assert (ordered.method, ordered.objective, ordered.depths) == ("sorted", "text", (12, 16, 32))
    assert plan(CPU, grow="4", left=seven_billion(28)).objective == "predictions"  # it heals a cut


def test_a_sorted_model_needs_memory_for_all_of_itself_and_each_pass_through_the_head():
    whole = plan(depths="32", drop_layers=0, left=seven_billion(32))
    four = plan(depths="12,16,24", drop_layers=0, left=seven_billion(32))
    sampled = plan(depths="12,16,24", drop_layers=0, sample_depths=True, left=seven_billion(32))
    assert whole.memory_bytes > 16 * seven_billion(32).parameters
    assert four.memory_bytes > whole.memory_bytes
    assert sampled.memory_bytes == whole.memory_bytes
    assert four.seconds > whole.seconds


def test_a_depth_that_the_model_does_not_have_is_refused():
    with pytest.raises(RecipeError, match="the model has 32 layers"):
        plan(depths="40", drop_layers=0, left=seven_billion(32))
