"""What a training would take: bytes and operations, from the shapes of the model alone."""

from collections.abc import Sequence

from hf_prune.records import Anatomy

SHARE_OF_RATE = (
    0.6  # of a bare matrix product's rate that whole layers are taken to reach; a guess, measured nowhere
)
ELEMENT_BYTES = {"F64": 4, "F32": 4}  # float64 is computed in float32
MASTER_BYTES = 16  # a trained number: itself, its gradient and two moments of Adam, in float32
NF4_BYTES = 0.57  # a number in 4 bits with its share of doubly quantised scales, and some slack
LOGIT_BYTES = 14  # a logit: in two bytes, in float32, its exponential and its gradient
KEPT_PER_LAYER = 34  # numbers of the hidden size's width that a layer keeps for its backward pass
STATE_BYTES = 2  # as stored in lessons: bfloat16
TOP_BYTES = 6  # one of the original's most likely tokens: which it is, and how likely


def trained_numbers(
    method: str, left: Anatomy, *, rank: int, last_layers: int, train_head: bool, new_layers: int = 0
) -> int:
    """How many numbers a method trains, about.

    Args:
        method: "lora", "qlora", "partial", "replace", "grown" or "sorted".
        left: the shorter model.
        rank: of LoRA.
        last_layers: that `partial` trains.
        train_head: whether it trains the head.
        new_layers: that `grown` trains.
    """
    if method == "sorted":
        return left.parameters
    if method == "grown":
        return new_layers * max(left.parameters_per_layer)
    if method == "replace":
        return max(left.parameters_per_layer)
    if method == "partial":
        head = left.vocabulary_size * left.hidden_size if train_head else 0
        return head + left.hidden_size + sum(left.parameters_per_layer[-last_layers:])
    # Seven projections of a layer, a width in and a width out each; of feed-forward ones, the wider part.
    per_layer = [3 * parameters // left.hidden_size for parameters in left.parameters_per_layer]
    return rank * sum(per_layer)


def training_memory(
    method: str,
    left: Anatomy,
    trained: int,
    tokens: int,
    element: int,
    *,
    checkpointing: bool,
    heads: int = 1,
) -> int:
    """Bytes that training takes beside the interpreter and its libraries.

    Args:
        method: "lora", "qlora", "partial", "replace", "grown" or "sorted".
        left: the shorter model.
        trained: numbers that are trained.
        tokens: that pass at once.
        element: bytes of a number as the model computes.
        checkpointing: whether a layer's inner states are computed again on the way back.
        heads: how many times the head is passed.
    """
    layers = sum(left.parameters_per_layer)
    stored = layers * (NF4_BYTES if method == "qlora" else element) + (left.parameters - layers) * element
    # Layers whose inner states are kept: those above the first that is trained.
    grown = 3 if method in ("partial", "replace") else left.num_layers
    inner = KEPT_PER_LAYER * (1 if checkpointing else grown) + (left.num_layers if checkpointing else 0)
    passing = tokens * (inner * left.hidden_size * element + heads * LOGIT_BYTES * left.vocabulary_size)
    return int(stored + MASTER_BYTES * trained + passing)


def training_operations(
    method: str,
    dense: Anatomy,
    left: Anatomy,
    tokens: int,
    *,
    distilled: bool,
    checkpointing: bool,
    depths: Sequence[int] = (),
) -> float:
    """Floating-point operations of a training, the original's predictions included.

    Args:
        method: "lora", "qlora", "partial", "replace", "grown" or "sorted".
        dense: the original.
        left: the shorter model.
        tokens: trained on.
        distilled: whether the original predicts them first.
        checkpointing: whether layers are computed again on the way back.
        depths: of the models that `sorted` trains together, each of which has its pass through the head.
    """
    head = left.vocabulary_size * left.hidden_size
    forward = sum(left.parameters_per_layer) + head * max(1, len(depths))
    backward = float(forward)  # of activations; a full-rank weight's own gradient costs as much again
    if method == "partial":
        backward = 2 * (sum(left.parameters_per_layer[-3:]) + head)
    if method == "sorted":
        backward = 2.0 * forward
    again = forward if checkpointing else 0
    teaching = sum(dense.parameters_per_layer) + head if distilled else 0
    return 2.0 * tokens * (forward + backward + again + teaching)
