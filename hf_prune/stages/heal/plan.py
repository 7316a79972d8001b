"""What is trained, and how: from what was asked for and what this machine has, before anything is."""

from collections.abc import Callable
from dataclasses import replace

from hf_prune.errors import RecipeError
from hf_prune.machine.disk import gigabytes
from hf_prune.machine.environment import Machine
from hf_prune.recipe.faults import UNHEALED
from hf_prune.recipe.parse import parse_depths
from hf_prune.recipe.recipe import Recipe
from hf_prune.records import DECODER, Anatomy, HealingPlan
from hf_prune.stages.heal.cost import (
    ELEMENT_BYTES,
    SHARE_OF_RATE,
    STATE_BYTES,
    TOP_BYTES,
    trained_numbers,
    training_memory,
    training_operations,
)
from hf_prune.stages.texts.text import Text

HEALED = "healed"  # the variant that a training leaves
MOST_TOKENS = 10_000_000  # that are trained on where nobody says how many
TOP_TOKENS = 64  # of the original's predictions at each position; LinearPatch (2505.24680) keeps 50 to 100
FREE_SHARE = 0.85  # of the free memory, for training
DISK_SHARE = 0.5  # of the free disk, for the original's predictions
STEPS_WANTED = 128  # a short text is learnt in small steps rather than in few
LARGEST_BATCH = 16  # windows: Gromov et al. (2403.17887), appendix
WIDE = 8192  # hidden size from which models want a tenth of the learning rate: Gromov et al., their 70B
LONGEST_AUTO = 6 * 3600.0  # seconds that `auto` may spend unasked
LEARNING_RATES = {
    "lora": 1e-3,
    "qlora": 1e-3,
    "partial": 1e-4,
    "replace": 2e-4,
    "grown": 2e-4,
    "sorted": 2e-5,
}
RANK = 64  # of LoRA
WHY_ON_A_GPU = {  # what `auto` tries, in this order
    "lora": "LoRA on the model as it is fits into this GPU",
    "qlora": "only with its weights in 4 bits does training fit into this GPU",
}


def plan_healing(
    recipe: Recipe,
    dense: Anatomy,
    left: Anatomy,
    gaps: int,
    text_tokens: int,
    machine: Machine,
    new_layers: int = 0,
) -> HealingPlan:
    """What to train.

    Args:
        recipe: what is asked for.
        dense: the original.
        left: the shorter model.
        gaps: how many of its gaps have a layer before them.
        text_tokens: how many tokens there are to train on.
        machine: what there is.
        new_layers: how many of the shorter model's layers are new.

    Raises:
        RecipeError: the method cannot heal this cut.
    """
    if recipe.heal == "none":
        return HealingPlan(method="none", reason=None)
    if dense.kind != DECODER:
        return HealingPlan(method="none", reason=UNHEALED)
    if recipe.heal == "replace" and not gaps:
        raise RecipeError(
            "--heal replace trains the layer before a gap, and nothing comes before layer 0: --heal lora"
        )

    def planned(method: str) -> HealingPlan:
        return _planned(recipe, method, dense, left, gaps, text_tokens, machine, new_layers)

    if (method := _asked_for(recipe)) != "auto":
        return planned(method)
    if not may_train(recipe, machine.device):
        reason = (
            f"nothing was trained: on a CPU that is done only when asked for; --heal lora would take about "
            f"{_told(planned('lora').seconds)}"
        )
        return HealingPlan(method="none", reason=reason)
    if (plan := _fitting(planned, machine)) is None:
        reason = (
            f"nothing was trained: it would need {gigabytes(planned('lora').memory_bytes)}, and "
            f"{gigabytes(machine.free_memory)} are free; several GPUs may do it (docs/healing.md)"
        )
        return HealingPlan(method="none", reason=reason)
    if plan.seconds > LONGEST_AUTO:
        reason = (
            f"nothing was trained: it would take about {_told(plan.seconds)}; --heal {plan.method} does it, "
            f"or fewer --heal-tokens"
        )
        return HealingPlan(method="none", reason=reason)
    return plan


def may_train(recipe: Recipe, device: str) -> bool:
    """Whether anything may be trained on a device of this type: on a CPU only what was asked for by name."""
    return recipe.heal != "none" and (_asked_for(recipe) != "auto" or device == "cuda")


def _asked_for(recipe: Recipe) -> str:
    """What is to be trained, by name: growing and sorting train what they are about."""
    if recipe.heal == "auto" and recipe.grow is not None:
        return "grown"
    return "sorted" if recipe.depths is not None else recipe.heal


def approximate_tokens(text: Text | None) -> int:
    """Of a text that nobody has a tokenizer for yet: four characters of English are about one."""
    return 0 if text is None else sum(map(len, text.documents)) // 4


def lessons_bytes(objective: str, boundary_loss: float, left: Anatomy, gaps: int, tokens: int) -> int:
    """What the file takes that holds what the original says.

    Args:
        objective: "predictions", "text" or "states".
        boundary_loss: weight of the distance to the original's states after each gap.
        left: the shorter model.
        gaps: how many of its gaps have a layer before them.
        tokens: that it says something of.
    """
    predictions = TOP_TOKENS * TOP_BYTES if objective == "predictions" else 0
    states = gaps * STATE_BYTES * left.hidden_size if boundary_loss else 0
    return tokens * (predictions + states)


def _fitting(planned: Callable[[str], HealingPlan], machine: Machine) -> HealingPlan | None:
    """LoRA on the model as it is where that fits, else on the model in 4 bits; None where neither does."""
    for method, reason in WHY_ON_A_GPU.items():
        plan = planned(method)
        if plan.memory_bytes <= FREE_SHARE * machine.free_memory:
            return replace(plan, reason=reason)
    return None


def _planned(
    recipe: Recipe,
    method: str,
    dense: Anatomy,
    left: Anatomy,
    gaps: int,
    text_tokens: int,
    machine: Machine,
    new_layers: int,
) -> HealingPlan:
    length = recipe.sequence_length
    tokens = recipe.heal_tokens or min(text_tokens, MOST_TOKENS)
    windows = max(tokens // length, 1)
    short = _power_below(max(1, min(LARGEST_BATCH, windows // STEPS_WANTED)))
    batch = min(recipe.heal_batch or short, windows)
    objective, why = _objective(recipe, method, left, gaps, min(tokens, text_tokens), machine)
    rank = (recipe.rank or RANK) if method in ("lora", "qlora") else 0
    last_layers = min(recipe.last_layers, left.num_layers) if method == "partial" else 0
    head = recipe.train_head if recipe.train_head is not None else not left.tied_embeddings
    plan = HealingPlan(
        method=method,
        reason=None,
        objective=objective,
        objective_reason=why,
        boundary_loss=1.0 if objective == "states" else recipe.boundary_loss,
        targets=recipe.heal_targets if method in ("lora", "qlora") else "",
        rank=rank,
        alpha=(recipe.lora_alpha or rank) if rank else 0,
        last_layers=last_layers,
        train_head=head and method == "partial",
        depths=parse_depths(recipe.depths, left.num_layers) if recipe.depths else (),
        sample_depths=recipe.sample_depths,
        learning_rate=recipe.lr or LEARNING_RATES[method] * (0.1 if left.hidden_size >= WIDE else 1.0),
        num_tokens=windows * length,
        sequence_length=length,
        batch=batch,
    )
    return _sized(plan, dense, left, machine, new_layers)


def _sized(
    plan: HealingPlan, dense: Anatomy, left: Anatomy, machine: Machine, new_layers: int
) -> HealingPlan:
    """The plan with as many windows at once as the memory takes, in whole steps, and what that costs."""
    element = ELEMENT_BYTES.get(left.dtype, 2)
    trained = trained_numbers(
        plan.method,
        left,
        rank=plan.rank,
        last_layers=plan.last_layers,
        train_head=plan.train_head,
        new_layers=new_layers,
    )
    checkpointing = machine.device == "cuda" and plan.method in ("lora", "qlora")

    def memory(windows: int) -> int:
        tokens = windows * plan.sequence_length
        heads = 1 if plan.sample_depths else max(1, len(plan.depths))
        return training_memory(
            plan.method, left, trained, tokens, element, checkpointing=checkpointing, heads=heads
        )

    each = max(1, plan.batch // machine.processes)
    room = FREE_SHARE * machine.free_memory
    fitting = [windows for windows in range(1, each + 1) if each % windows == 0 and memory(windows) <= room]
    micro, batch = max(fitting, default=1), each * machine.processes
    num_tokens = batch * plan.sequence_length * max(1, plan.num_tokens // plan.sequence_length // batch)
    operations = training_operations(
        plan.method,
        dense,
        left,
        num_tokens,
        distilled=plan.objective == "predictions",
        checkpointing=checkpointing,
        depths=plan.depths,
    )
    return replace(
        plan,
        num_tokens=num_tokens,
        batch=batch,
        micro_batch=micro,
        gradient_checkpointing=checkpointing,
        memory_bytes=memory(micro),
        seconds=operations / (SHARE_OF_RATE * machine.operations_per_second * machine.processes),
    )


def _objective(
    recipe: Recipe, method: str, left: Anatomy, gaps: int, tokens: int, machine: Machine
) -> tuple[str, str | None]:
    """What is learnt, and why it is not the original's predictions where those were not asked to go."""
    injects = method == "grown" and recipe.drop_layers == 0  # new knowledge, which the original lacks
    if recipe.distill is False or (recipe.distill is None and (injects or method == "sorted")):
        return "text", None
    if method == "replace" and recipe.distill is None:
        return "states", None  # LLM-Streamline (2403.19135), its first form
    needed = lessons_bytes("predictions", recipe.boundary_loss, left, gaps, tokens)
    if recipe.distill is None and needed > DISK_SHARE * machine.free_disk:
        return "text", (
            f"the original's predictions would take {gigabytes(needed)} of disk, and "
            f"{gigabytes(machine.free_disk)} are free"
        )
    return "predictions", None


def _power_below(number: int) -> int:
    """The largest power of two that is not above a number."""
    return 1 << (number.bit_length() - 1)


def _told(seconds: float) -> str:
    return f"{max(1, round(seconds / 60))} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
