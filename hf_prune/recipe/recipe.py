"""What the user asks for: one frozen record, checked as a whole before anything is touched."""

import math
import re
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from hf_prune.errors import RecipeError
from hf_prune.recipe.gates import parse_gates
from hf_prune.stages.choose.criteria import AUTO, CRITERIA
from hf_prune.stages.export.possible import SAFETENSORS, parse_formats

METHODS = (AUTO, *CRITERIA)
ANALYSED = (
    "revision",
    "gguf_file",
    "allow_pickle",
    "trust_remote_code",
    "calibration",
    "samples",
    "sequence_length",
    "seed",
    "device",
)
EVALUATED = (
    "revision",
    "gguf_file",
    "allow_pickle",
    "trust_remote_code",
    "max_loss",
    "sequence_length",
    "eval_data",
    "eval_samples",
    "eval_elsewhere",
    "choices",
    "choice_items",
    "tasks",
    "limit",
    "fewshot",
    "tasks_from",
    "min_score",
    "device",
)
BRIDGES = ("auto", "lstsq", "cosine", "scale", "refit", "relay", "none")
HEALS = ("auto", "none", "lora", "qlora", "partial", "replace")
HEAL_TARGETS = ("all", "ffn")
SELF = "self"  # as --heal-data: the original model writes the text
DEFAULT_RATIO = 0.25
SWITCHES = {  # fields that are yes, no, or left to the tool
    "contiguous": ("--contiguous", "--scattered"),
    "distill": ("--distill", "--no-distill"),
    "train_head": ("--train-head", "--keep-head"),
}
SIZES = ("ratio", "drop_layers", "layers", "target_params", "target_memory")
TARGETS = (*SIZES, "max_loss")
QUANTITIES = ("target_params", "target_memory", "heal_tokens", "max_shard_size")  # fields that take 5B or 8GB
GOES_WITH = {"train_head": "heal", "prompts": "heal_data", "contiguous": "method"}  # of no use without
OTHER_WORDS = {
    "sequence_length": "seq-len",
    "based_on": "recipe",
    "formats": "format",
    "tasks": "eval",
}  # for fields, on the command line
QUANTITY = r"\s*(\d+(?:\.\d*)?(?:e\d+)?)\s*(?:([kmgt]i?)b?|(b?))\s*"
UNITS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9, "t": 10**12}
UNITS |= {"ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
LAYER_LIST = r"\d+(-\d+)?(,\d+(-\d+)?)*"
TASK_LIST = r"[^\s,]+(,[^\s,]+)*"
PROTECTED_LIST = r"(first:\d+|last:\d+|\d+(-\d+)?)(,(first:\d+|last:\d+|\d+(-\d+)?))*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that decides what a run computes.

    At most one of the sizes (`ratio` to `target_memory`) is set; without any, `max_loss` decides how many
    layers go, or else a quarter does.
    """

    model: str  # Hub id or local folder
    revision: str | None = None
    gguf_file: str | None = None
    allow_pickle: bool = False  # read pytorch_model.bin where there is no safetensors file
    trust_remote_code: bool = False  # run the code that the model brings
    ratio: float | None = None
    drop_layers: int | None = None  # 0: the model is grown, sorted or trained as it is
    layers: str | None = None  # "21-28,30": 0-based, inclusive
    target_params: int | None = None  # as many parameters or fewer
    target_memory: int | None = None  # bytes of weights and KV cache at `context_length`, or fewer
    context_length: int = 4096
    max_loss: float | None = None  # nats per token above the original that the result may have
    method: str = AUTO
    protect: str | None = None  # "first:4,last:2,11": layers that stay
    contiguous: bool | None = None  # one block or layers anywhere; None: as the method's paper has it
    budget: float = 20.0  # of `auto`, in forward passes over the calibration text
    calibration: str | None = None  # a local text; None: the built-in one
    samples: int = 64
    sequence_length: int = 512
    seed: int = 0
    bridge: str = "auto"
    grow: str | None = None  # how many new layers in the shallow half, trained alone; "auto": every second
    depths: str | None = None  # "12,16,20,24": models of the first so many layers, trained together
    sample_depths: bool = False  # train one of them a step, drawn at random, not all
    heal: str = "auto"
    heal_data: str | None = None  # a local text, or SELF; None: the built-in one
    prompts: str | None = None  # that the original model answers, for SELF; None: made from the built-in text
    heal_tokens: int | None = None  # trained on; None: each of the text's once, to a limit
    lr: float | None = None  # None: the method's own
    rank: int | None = None  # of LoRA; None: the method's own
    lora_alpha: int | None = None  # None: as the rank
    heal_targets: str = "all"  # of LoRA: every linear projection of the layers, or the feed-forward ones
    last_layers: int = 3  # that `partial` trains
    train_head: bool | None = None  # with `partial`; None: where the head is not tied to the embedding
    heal_batch: int | None = None  # windows a step; None: by how many there are
    distill: bool | None = None  # learn the original's predictions; None: where they fit on the disk
    boundary_loss: float = 0.0  # weight of the distance to the original's states after each gap
    eval_data: str | None = None  # a local text; None: the built-in one
    eval_elsewhere: str | None = None  # held-out text of another domain, local; None: the built-in one
    eval_samples: int = 32
    choices: str | None = None  # multiple-choice items, a local file; None: made from the held-out text
    choice_items: int = 64
    tasks: str = "none"  # of lm-evaluation-harness: "arc_easy,gsm8k"
    limit: int | None = None  # items of a task; None: all
    fewshot: int | None = None  # items shown before each; None: as many as the task has it
    tasks_from: str | None = None  # a folder of tasks beside those of the harness
    min_score: str | None = None  # "arc_easy=0.45": the worst that the result may have
    draft: bool = False  # measure the result as a draft: of its original, or a sorted one of itself
    formats: str = SAFETENSORS  # "safetensors,onnx": other forms of the result too
    max_shard_size: int | None = None  # bytes of a safetensors file; None: as the original is divided
    device: str = "auto"
    based_on: str | None = None  # a built-in recipe, or the name of a file

    @property
    def needs_sizes(self) -> bool:
        """Whether the exact sizes of tensors decide how many layers go."""
        return self.target_params is not None or self.target_memory is not None

    @property
    def is_sized_by_loss(self) -> bool:
        """Whether `max_loss` decides how many layers go: the deepest cut within it is taken."""
        return self.max_loss is not None and all(getattr(self, size) is None for size in SIZES)


DEFAULTS = Recipe(model="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """Where a result is to go on the Hub."""

    repo_id: str | None = None  # None: USER/NAME
    private: bool = True
    overwrite: bool = False  # a repository that hf-prune did not make
    branch: str | None = None  # None: main
    create_pr: bool = False  # propose it, and publish nothing
    collection: str | None = None  # to put it into


def check_recipe(recipe: Recipe) -> None:
    """Say everything that is wrong with a recipe, at once.

    Raises:
        RecipeError: with one sentence for each fault.
    """
    faults = [
        *_faults_of_target(recipe),
        *_faults_of_choice(recipe),
        *_faults_of_growth(recipe),
        *_faults_of_healing(recipe),
        *_faults_of_export(recipe),
        *_faults_of_tasks(recipe),
        *_too_small(recipe),
    ]
    if faults:
        raise RecipeError("; ".join(faults))


def _faults_of_target(recipe: Recipe) -> Iterator[str]:
    chosen = [option_name(size) for size in SIZES if getattr(recipe, size) is not None]
    if len(chosen) > 1:
        yield f"{' and '.join(chosen)} each say what to remove: give one of them"
    if recipe.ratio is not None and not 0 < recipe.ratio < 1:
        yield f"--ratio {recipe.ratio:g} is not between 0 and 1: 0.25 removes a quarter of the layers"
    if recipe.drop_layers is not None and recipe.drop_layers < 1 and not keeps_all(recipe):
        yield f"--drop-layers {recipe.drop_layers} removes nothing: give 1 or more"
    if recipe.layers is not None and not re.fullmatch(LAYER_LIST, recipe.layers):
        yield f"--layers {recipe.layers!r} is not a list like 21-28,30"
    if recipe.max_loss is not None and not 0 < recipe.max_loss < float("inf"):
        yield f"--max-loss {recipe.max_loss:g} is not a rise in loss: 0.05 allows 0.05 nats per token"


def _faults_of_choice(recipe: Recipe) -> Iterator[str]:
    if recipe.method not in METHODS:
        yield f"--method {recipe.method!r} is none of {', '.join(METHODS)}"
    if recipe.contiguous and recipe.method == "greedy":
        yield "--method greedy removes layers one at a time, not one block: leave --contiguous out"
    if recipe.protect is not None and not re.fullmatch(PROTECTED_LIST, recipe.protect):
        yield f"--protect {recipe.protect!r} is not a list like first:4,last:2,11"
    if not 0 < recipe.budget < float("inf"):
        yield f"--budget {recipe.budget:g} is not a number of forward passes above 0"
    if recipe.bridge not in BRIDGES:
        yield f"--bridge {recipe.bridge!r} is none of {', '.join(BRIDGES)}"


def keeps_all(recipe: Recipe) -> bool:
    """Whether no layer is to go: the model is grown, sorted or trained as it is."""
    if recipe.depths is not None:
        return True
    trained = recipe.heal in ("lora", "qlora", "partial")
    return recipe.drop_layers == 0 and (recipe.grow is not None or trained)


def _faults_of_growth(recipe: Recipe) -> Iterator[str]:
    if recipe.grow is not None and not re.fullmatch(r"auto|[1-9]\d*", recipe.grow):
        yield f"--grow {recipe.grow} is neither auto nor a number of layers above 0"
    if recipe.grow is not None and recipe.heal not in ("auto", "none"):
        yield f"--grow trains the new layers alone, and --heal {recipe.heal} others: leave one of them out"
    if recipe.draft and keeps_all(recipe) and recipe.depths is None:
        yield "--draft is for a result with fewer layers than its original, or a sorted one: leave it out"
    if recipe.depths is None:
        return
    if not re.fullmatch(r"\d+(,\d+)*", recipe.depths):
        yield f"--depths {recipe.depths!r} is not a list like 12,16,20,24"
    removes = any(getattr(recipe, target) for target in TARGETS)
    if removes or recipe.grow is not None:
        yield "--depths trains a model as it is: neither remove layers from it nor grow it"
    if recipe.heal != "auto":
        yield f"--depths trains the whole model, and --heal {recipe.heal} parts: leave one of them out"


def _faults_of_healing(recipe: Recipe) -> Iterator[str]:
    if recipe.heal not in HEALS:
        yield f"--heal {recipe.heal!r} is none of {', '.join(HEALS)}"
    if recipe.heal_targets not in HEAL_TARGETS:
        yield f"--heal-targets {recipe.heal_targets!r} is none of {', '.join(HEAL_TARGETS)}"
    if recipe.lr is not None and not 0 < recipe.lr < 1:
        yield f"--lr {recipe.lr:g} is not a learning rate: 3e-4 is one"
    if not 0 <= recipe.boundary_loss < float("inf"):
        yield f"--boundary-loss {recipe.boundary_loss:g} is not a weight: 0 leaves it out, 1 is much"
    if recipe.prompts is not None and recipe.heal_data != SELF:
        yield "--prompts is for --heal-data self, where the original model answers them"
    if recipe.train_head is not None and recipe.heal != "partial":
        yield "--train-head and --keep-head are for --heal partial"


def _faults_of_export(recipe: Recipe) -> Iterator[str]:
    try:
        parse_formats(recipe.formats)
    except RecipeError as error:
        yield f"{error}"


def _faults_of_tasks(recipe: Recipe) -> Iterator[str]:
    if not re.fullmatch(TASK_LIST, recipe.tasks):
        yield f"--eval {recipe.tasks!r} is not a list of tasks like arc_easy,gsm8k, nor none"
    try:
        parse_gates(recipe.min_score)
    except RecipeError as error:
        yield str(error)
    if recipe.tasks != "none":
        return
    for field in ("limit", "fewshot", "tasks_from", "min_score"):
        if getattr(recipe, field) is not None:
            yield f"{option_name(field)} is for the tasks of --eval, and none is asked for"


def _too_small(recipe: Recipe) -> Iterator[str]:
    for option, value, least in (
        ("--samples", recipe.samples, 1),
        ("--eval-samples", recipe.eval_samples, 1),
        ("--choice-items", recipe.choice_items, 0),
        ("--seq-len", recipe.sequence_length, 8),
        ("--heal-tokens", recipe.heal_tokens, 1),
        ("--rank", recipe.rank, 1),
        ("--lora-alpha", recipe.lora_alpha, 1),
        ("--last-layers", recipe.last_layers, 1),
        ("--heal-batch", recipe.heal_batch, 1),
        ("--limit", recipe.limit, 1),
        ("--fewshot", recipe.fewshot, 0),
        ("--context-length", recipe.context_length, 1),
        ("--target-params", recipe.target_params, 1),
        ("--target-memory", recipe.target_memory, 1),
        ("--max-shard-size", recipe.max_shard_size, 1),
    ):
        if value is not None and value < least:
            yield f"{option} {value} is too small: give {least} or more"


def command_line(recipe: Recipe, beginning: str | None = None, given: Mapping[str, Any] | None = None) -> str:
    """The command that asks for this recipe, defaults left out.

    Args:
        recipe: what is asked for.
        beginning: of the command, where that says which model it is; None: `hf-prune MODEL`.
        given: what the built-in recipe says that it is based on, where the command is to name that one.
    """
    known = {"model", "gguf_file", "based_on"} if beginning else {"model", "based_on"}
    named = ["--recipe", f"{recipe.based_on}"] if given else []
    words = named + option_words(unlike(recipe, _all_fields(but=known), given or {}))
    return " ".join([beginning or shlex.join(["hf-prune", recipe.model]), shlex.join(words)]).strip()


def analysis_command_line(recipe: Recipe, permutations: int) -> str:
    """The command that makes an analysis, defaults left out, and what the recipe says of cutting.

    Args:
        recipe: the model and the text.
        permutations: of Shapley sampling.
    """
    sampled = ["--shapley", f"{permutations}"] if permutations else []
    words = option_words(unlike(recipe, ANALYSED, {}))
    return shlex.join(["hf-prune", "analyze", recipe.model, *words, *sampled])


def evaluation_command_line(recipe: Recipe, baseline: str | None) -> str:
    """The command that makes an evaluation, defaults left out, and what the recipe says of cutting.

    Args:
        recipe: the model, and how it is measured.
        baseline: the model that it is compared with.
    """
    compared = ["--baseline", baseline] if baseline else []
    words = option_words(unlike(recipe, EVALUATED, {}))
    return shlex.join(["hf-prune", "eval", recipe.model, *compared, *words])


def _all_fields(but: Collection[str]) -> Iterator[str]:
    return (field.name for field in fields(Recipe) if field.name not in but)


def unlike(recipe: Recipe, names: Iterable[str], given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a recipe that have to be said, for they are not so anyway; None cannot be said.

    Args:
        recipe: what is asked for.
        names: of the fields that count.
        given: what is so without being said, by field; of other fields the defaults are.
    """
    anyway = {name: given.get(name, getattr(DEFAULTS, name)) for name in names}
    return {
        name: value
        for name, default in anyway.items()
        if (value := getattr(recipe, name)) != default
        and value is not None
        and (value is not False or name in SWITCHES)
    }


def overridden(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """Options with others in their place, by field.

    A target in `upper` replaces any in `lower`; but a loss that only limits what a size in `lower` leaves
    goes on to limit what another size leaves. What only goes with an option that `upper` changes is left
    out: who follows a recipe but heals otherwise never asked for its --train-head.

    Args:
        lower: options.
        upper: those that win.
    """
    changed = {name for name, value in upper.items() if value != lower.get(name)}
    gone = {name for name, other in GOES_WITH.items() if other in changed}
    if any(target in upper for target in TARGETS):
        gone.update(TARGETS if not any(size in lower for size in SIZES) else SIZES)
    return {name: value for name, value in lower.items() if name not in gone} | dict(upper)


def option_words(options: Mapping[str, Any]) -> list[str]:
    """The words of the command line for some options, by field."""
    words = []
    for name, value in options.items():
        if name in SWITCHES:
            words.append(SWITCHES[name][0 if value else 1])
        else:
            words += [option_name(name)] if value is True else [option_name(name), f"{value}"]
    return words


def option_name(field: str) -> str:
    """The command-line option of a field of the recipe."""
    return "--" + OTHER_WORDS.get(field, field.replace("_", "-"))


def parse_layers(text: str, option: str = "--layers") -> tuple[int, ...]:
    """The layers that "21-28,30" names, in order, each once.

    Raises:
        RecipeError: a range runs backwards.
    """
    layers: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if last and int(last) < int(first):
            raise RecipeError(f"{option} {text}: {part} runs backwards; write {last}-{first} instead")
        layers.update(range(int(first), int(last or first) + 1))
    return tuple(sorted(layers))


def parse_protected(text: str | None, num_layers: int) -> frozenset[int]:
    """The layers that "first:4,last:2,11" keeps in a model of `num_layers`.

    Raises:
        RecipeError: a range runs backwards, or a layer does not exist.
    """
    layers: set[int] = set()
    for part in text.split(",") if text else ():
        end, _, count = part.partition(":")
        if end == "first":
            layers.update(range(min(int(count), num_layers)))
        elif end == "last":
            layers.update(range(max(num_layers - int(count), 0), num_layers))
        else:
            layers.update(parse_layers(part, "--protect"))
    if layers and max(layers) >= num_layers:
        raise RecipeError(f"--protect {text}: the model has {num_layers} layers, 0 to {num_layers - 1}")
    return frozenset(layers)


def parse_depths(text: str, num_layers: int) -> tuple[int, ...]:
    """The depths that "12,16,20" names, in order, and the whole model's.

    Raises:
        RecipeError: one is 0, or deeper than the model.
    """
    depths = sorted({*map(int, text.split(",")), num_layers})
    if depths[0] < 1 or depths[-1] > num_layers:
        raise RecipeError(f"--depths {text}: the model has {num_layers} layers; give depths from 1 to that")
    return tuple(depths)


def parse_quantity(text: str) -> int:
    """How many parameters or bytes "5B", "1.2e9", "8GB" or "8GiB" are.

    Raises:
        ValueError: it is no such quantity.
    """
    match = re.fullmatch(QUANTITY, text.lower())
    size = float(match[1]) * UNITS[match[2] or match[3]] if match else math.inf
    if size == math.inf:
        raise ValueError(f"{text!r} is not a quantity like 5B or 8GB")
    return round(size)
