"""What is trained, and how: decided before anything is, from the recipe and what this machine has."""

from dataclasses import dataclass, replace
from functools import partial

from hf_prune.errors import RecipeError
from hf_prune.machine.environment import Machine
from hf_prune.recipe.faults import UNHEALED
from hf_prune.recipe.parse import parse_depths
from hf_prune.recipe.recipe import Recipe
from hf_prune.records import DECODER, Anatomy, HealingPlan
from hf_prune.records.numbers import byte_size, rough_duration
from hf_prune.stages.heal import cost
from hf_prune.stages.texts.text import Text

HEALED = "healed"  # the variant that a training leaves
MOST_TOKENS = 10_000_000  # trained on where the user names no number
TOP_TOKENS = 64  # of the original's predictions at each position; LinearPatch (2505.24680) keeps 50 to 100
FREE_SHARE = 0.85  # of the free memory, for training
DISK_SHARE = 0.5  # of the free disk, for the original's predictions
FEWEST_STEPS = 128  # a short text is learnt in small steps rather than in few
LARGEST_BATCH = 16  # windows: Gromov et al. (2403.17887), appendix
WIDE = 8192  # hidden size from which models want a tenth of the learning rate: Gromov et al., their 70B
LONGEST_AUTO = 6 * 3600.0  # seconds that `auto` may train without being asked
LEARNING_RATE = {"lora": 1e-3, "qlora": 1e-3, "partial": 1e-4, "replace": 2e-4, "grown": 2e-4, "sorted": 2e-5}
RANK = 64  # of LoRA
WHY_ON_A_GPU = {  # what `auto` tries, in this order
    "lora": "LoRA on the model as it is fits into this GPU",
    "qlora": "training fits into this GPU only with the model's weights in 4 bits",
}


def plan_healing(
    recipe: Recipe,
    original: Anatomy,
    shorter: Anatomy,
    gaps: int,
    text_tokens: int,
    machine: Machine,
    new_layers: int = 0,
) -> HealingPlan:
    """Decide what to train of the shorter model, where so many gaps have a layer before them.

    Raises:
        RecipeError: the method cannot heal this cut.
    """
    if recipe.heal == "none":
        return HealingPlan(method="none", reason=None)
    if original.kind != DECODER:
        return HealingPlan(method="none", reason=UNHEALED)
    if recipe.heal == "replace" and not gaps:
        raise RecipeError(
            "--heal replace trains the layer before a gap, and nothing comes before layer 0: --heal lora"
        )
    planner = _Planner(recipe, original, shorter, gaps, text_tokens, machine, new_layers)
    method = _method(recipe)
    return planner.plan_auto() if method == "auto" else planner.plan(method)


def may_train(recipe: Recipe, device: str) -> bool:
    """Whether a device of this type may train: a CPU does so only where the recipe names a method."""
    return recipe.heal != "none" and (_method(recipe) != "auto" or device == "cuda")


def _method(recipe: Recipe) -> str:
    """The method that a recipe names, or "auto": growing and sorting have methods of their own."""
    if recipe.heal == "auto" and recipe.grow is not None:
        return "grown"
    return "sorted" if recipe.depths is not None else recipe.heal


def approximate_tokens(text: Text | None) -> int:
    """The tokens of a text before there is a tokenizer: one for four characters, as in English."""
    return 0 if text is None else sum(map(len, text.documents)) // 4


def lessons_bytes(objective: str, boundary_loss: float, shorter: Anatomy, gaps: int, tokens: int) -> int:
    """Bytes of the original's predictions and, after each gap, hidden states for a number of tokens."""
    predictions = TOP_TOKENS * cost.TOP_BYTES if objective == "predictions" else 0
    states = gaps * cost.STATE_BYTES * shorter.hidden_size if boundary_loss else 0
    return tokens * (predictions + states)


@dataclass(frozen=True, slots=True)
class _Planner:
    """The arguments of `plan_healing`, from which the plan of any method follows."""

    recipe: Recipe
    original: Anatomy
    shorter: Anatomy
    gaps: int
    text_tokens: int
    machine: Machine
    new_layers: int

    def plan_auto(self) -> HealingPlan:
        """LoRA, in 4 bits if need be; nothing where that does not fit or takes too long."""
        lora = self.plan("lora")
        if not may_train(self.recipe, self.machine.device):
            return _untrained(
                f"on a CPU hf-prune trains only on request; --heal lora would take about "
                f"{rough_duration(lora.seconds)}"
            )
        free = self.machine.free_memory
        plans = (replace(self.plan(method), reason=reason) for method, reason in WHY_ON_A_GPU.items())
        fitting = next((plan for plan in plans if plan.memory_bytes <= FREE_SHARE * free), None)
        if fitting is None:
            return _untrained(
                f"it would need {byte_size(lora.memory_bytes)}, and {byte_size(free)} are free; several GPUs "
                f"may do it (docs/distributed.md)"
            )
        if fitting.seconds > LONGEST_AUTO:
            return _untrained(
                f"it would take about {rough_duration(fitting.seconds)}; ask for it with "
                f"--heal {fitting.method}, or give fewer --heal-tokens"
            )
        return fitting

    def plan(self, method: str) -> HealingPlan:
        """The plan of one method."""
        recipe, shorter = self.recipe, self.shorter
        length = recipe.sequence_length
        tokens = recipe.heal_tokens or min(self.text_tokens, MOST_TOKENS)
        windows = max(tokens // length, 1)
        most = max(1, min(LARGEST_BATCH, windows // FEWEST_STEPS))
        power_of_two = 1 << (most.bit_length() - 1)  # the largest that is not above
        objective, why = self._objective(method, min(tokens, self.text_tokens))
        adapts, last_alone = method in ("lora", "qlora"), method == "partial"
        rank = (recipe.rank or RANK) if adapts else 0
        head = recipe.train_head if recipe.train_head is not None else not shorter.tied_embeddings
        plan = HealingPlan(
            method=method,
            reason=None,
            objective=objective,
            objective_reason=why,
            boundary_loss=1.0 if objective == "states" else recipe.boundary_loss,
            targets=recipe.heal_targets if adapts else "",
            rank=rank,
            alpha=(recipe.lora_alpha or rank) if adapts else 0,
            last_layers=min(recipe.last_layers, shorter.num_layers) if last_alone else 0,
            train_head=head and last_alone,
            depths=parse_depths(recipe.depths, shorter.num_layers) if recipe.depths else (),
            sample_depths=recipe.sample_depths,
            learning_rate=recipe.lr or LEARNING_RATE[method] * (0.1 if shorter.hidden_size >= WIDE else 1.0),
            num_tokens=windows * length,
            sequence_length=length,
            batch=min(recipe.heal_batch or power_of_two, windows),
            gradient_checkpointing=self.machine.device == "cuda" and adapts,
        )
        return self._sized(plan)

    def _objective(self, method: str, tokens: int) -> tuple[str, str | None]:
        """What is learnt, and why it is the text where the original's predictions were not declined."""
        recipe, machine = self.recipe, self.machine
        injects = method == "grown" and recipe.drop_layers == 0  # new knowledge, which the original lacks
        if recipe.distill is False or (recipe.distill is None and (injects or method == "sorted")):
            return "text", None
        if method == "replace" and recipe.distill is None:
            return "states", None  # LLM-Streamline (2403.19135), its first form
        needed = lessons_bytes("predictions", recipe.boundary_loss, self.shorter, self.gaps, tokens)
        if recipe.distill is None and needed > DISK_SHARE * machine.free_disk:
            return "text", (
                f"the original's predictions would take {byte_size(needed)} of disk, and "
                f"{byte_size(machine.free_disk)} are free"
            )
        return "predictions", None

    def _sized(self, plan: HealingPlan) -> HealingPlan:
        """The plan in whole steps, with as many windows at once as the memory takes, and its cost."""
        machine = self.machine
        trained = cost.trained_parameters(plan, self.shorter, self.new_layers)
        memory = partial(cost.training_memory, plan, self.shorter, trained)  # of a number of windows
        share = max(1, plan.batch // machine.processes)
        room = FREE_SHARE * machine.free_memory
        fitting = [n for n in range(1, share + 1) if share % n == 0 and memory(n) <= room]
        micro, batch = max(fitting, default=1), share * machine.processes
        steps = max(1, plan.num_tokens // plan.sequence_length // batch)
        tokens = batch * plan.sequence_length * steps
        sized = replace(plan, num_tokens=tokens, batch=batch, micro_batch=micro, memory_bytes=memory(micro))
        operations = cost.training_operations(sized, self.original, self.shorter)
        rate = cost.SHARE_OF_RATE * machine.operations_per_second * machine.processes
        return replace(sized, seconds=operations / rate)


def _untrained(reason: str) -> HealingPlan:
    return HealingPlan(method="none", reason=f"nothing was trained: {reason}")
