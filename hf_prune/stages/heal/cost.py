"""What a training would take: bytes and operations, from the plan and the shapes of the models alone."""

from hf_prune.records import Anatomy, HealingPlan

SHARE_OF_RATE = 0.6  # of a bare matrix product's rate that whole layers reach; a guess, never measured
ELEMENT_BYTES = {"F64": 4, "F32": 4}  # elsewhere 2; float64 is computed in float32
MASTER_BYTES = 16  # a trained parameter: itself, its gradient and two moments of Adam, in float32
NF4_BYTES = 0.57  # a parameter in 4 bits with its share of doubly quantised scales, and some slack
LOGIT_BYTES = 14  # a logit: in two bytes, in float32, its exponential and its gradient
KEPT_PER_LAYER = 34  # numbers, in units of the hidden size, that a layer keeps for its backward pass
STATE_BYTES = 2  # a number of a hidden state as stored in lessons: bfloat16
TOP_BYTES = 6  # one of the original's most likely tokens: its id and its log-probability


def trained_parameters(plan: HealingPlan, shorter: Anatomy, new_layers: int) -> int:
    """How many parameters a plan trains, approximately; `new_layers` counts those that `grown` trains."""
    if plan.method == "sorted":
        return shorter.parameters
    if plan.method == "grown":
        return new_layers * max(shorter.parameters_per_layer)
    if plan.method == "replace":
        return max(shorter.parameters_per_layer)
    if plan.method == "partial":
        head = shorter.vocabulary_size * shorter.hidden_size if plan.train_head else 0
        return head + shorter.hidden_size + sum(shorter.parameters_per_layer[-plan.last_layers :])
    # Seven projections of a layer, a width in and a width out each; of feed-forward ones, the wider part.
    per_layer = [3 * parameters // shorter.hidden_size for parameters in shorter.parameters_per_layer]
    return plan.rank * sum(per_layer)


def training_memory(plan: HealingPlan, shorter: Anatomy, trained: int, windows: int) -> int:
    """Bytes that training takes for so many trained parameters and windows at once, without the libraries."""
    element = ELEMENT_BYTES.get(shorter.dtype, 2)
    tokens = windows * plan.sequence_length
    heads = 1 if plan.sample_depths else max(1, len(plan.depths))  # passes through the head
    layers = sum(shorter.parameters_per_layer)
    stored = layers * (NF4_BYTES if plan.method == "qlora" else element)
    stored += (shorter.parameters - layers) * element
    if plan.gradient_checkpointing:  # one layer at a time, and the input of each
        inner = KEPT_PER_LAYER + shorter.num_layers
    else:  # every layer from the first that is trained
        inner = KEPT_PER_LAYER * (3 if plan.method in ("partial", "replace") else shorter.num_layers)
    passing = tokens * (inner * shorter.hidden_size * element + heads * LOGIT_BYTES * shorter.vocabulary_size)
    return int(stored + MASTER_BYTES * trained + passing)


def training_operations(plan: HealingPlan, original: Anatomy, shorter: Anatomy) -> float:
    """Floating-point operations of a training, those of the original's predictions included."""
    head = shorter.vocabulary_size * shorter.hidden_size
    forward = sum(shorter.parameters_per_layer) + head * max(1, len(plan.depths))
    backward = float(forward)  # of activations; a full-rank weight's own gradient costs as much again
    if plan.method == "partial":
        backward = 2 * (sum(shorter.parameters_per_layer[-3:]) + head)
    if plan.method == "sorted":
        backward = 2.0 * forward
    recomputed = forward if plan.gradient_checkpointing else 0
    teaching = sum(original.parameters_per_layer) + head if plan.objective == "predictions" else 0
    return 2.0 * plan.num_tokens * (forward + backward + recomputed + teaching)
