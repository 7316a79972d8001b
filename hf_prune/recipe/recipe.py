"""What you ask for: one frozen record, checked as a whole before anything is touched."""

import types
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar, get_args, get_type_hints

from hf_prune.recipe.criteria import AUTO, CRITERIA
from hf_prune.recipe.formats import SAFETENSORS

METHODS = (AUTO, *CRITERIA)
BRIDGES = ("auto", "lstsq", "cosine", "scale", "refit", "relay", "none")
HEALS = ("auto", "none", "lora", "qlora", "partial", "replace")
HEAL_TARGETS = ("all", "ffn")
SELF = "self"  # as --heal-data: the original model writes the text
DEFAULT_RATIO = 0.25
SIZES = ("ratio", "drop_layers", "layers", "target_params", "target_memory")
TARGETS = (*SIZES, "max_loss")
ANALYZE, EVAL = ("analyze",), ("eval",)  # commands that take an option besides those that prune
BOTH = (*ANALYZE, *EVAL)

Default = TypeVar("Default")


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """What a field of the recipe is on the command line and in recipe files."""

    name: str | None = None  # "seq-len"; None: the name of the field
    negative: str | None = None  # the option that says no, of a field that is yes, no or left open
    choices: tuple[str, ...] | None = None
    least: int | None = None
    quantity: bool = False  # may be written as 5B or 8GB
    repeatable: bool = False  # may be given several times; the values are joined by commas
    path: str | None = None  # names a "file" or "folder" on this disk, or "either"
    needs: str | None = None  # the field without which it means nothing
    in_files: bool = True  # whether recipe files may set it
    commands: tuple[str, ...] = ()


def _option(default: Default, **about: Any) -> Default:
    return field(default=default, metadata={"option": Option(**about)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that decides what a run computes.

    Set at most one of the sizes (`ratio` to `target_memory`). Without a size, `max_loss` decides how many
    layers go. Without that too, a quarter of them go.
    """

    model: str = field(metadata={"option": Option(in_files=False)})  # Hub id or local folder
    revision: str | None = _option(None, in_files=False, commands=BOTH)
    gguf_file: str | None = _option(None, in_files=False, commands=BOTH)
    # Whether to read pytorch_model.bin where there is no safetensors file, and to run the model's own code.
    allow_pickle: bool = _option(False, in_files=False, commands=BOTH)
    trust_remote_code: bool = _option(False, in_files=False, commands=BOTH)
    ratio: float | None = None
    drop_layers: int | None = None  # 0: the model is grown, sorted or trained as it is
    layers: str | None = None  # "21-28,30": 0-based, inclusive
    target_params: int | None = _option(None, least=1, quantity=True)  # at most
    target_memory: int | None = _option(None, least=1, quantity=True)  # at most, weights and KV cache
    context_length: int = _option(4096, least=1)  # tokens in that KV cache
    max_loss: float | None = _option(None, commands=EVAL)  # nats per token above the original, at most
    method: str = _option(AUTO, choices=METHODS)
    protect: str | None = None  # "first:4,last:2,11": layers that stay
    # One block, or layers anywhere; None: as the method's paper has it.
    contiguous: bool | None = _option(None, negative="scattered", needs="method")
    budget: float = 20.0  # of `auto`, in forward passes over the calibration text
    calibration: str | None = _option(None, path="either", commands=ANALYZE)  # None: the built-in text
    samples: int = _option(64, least=1, commands=ANALYZE)
    sequence_length: int = _option(512, name="seq-len", least=8, commands=BOTH)
    seed: int = _option(0, commands=ANALYZE)
    bridge: str = _option("auto", choices=BRIDGES)
    grow: str | None = None  # number of new layers in the shallow half; "auto": after every second
    depths: str | None = None  # "12,16,20,24": these many first layers are trained as models, together
    sample_depths: bool = False  # train one depth per step, drawn at random, not all
    heal: str = _option("auto", choices=HEALS)
    heal_data: str | None = _option(None, path="file")  # a text, or SELF; None: the built-in text
    # What the original model answers for SELF; None: prompts from the built-in text.
    prompts: str | None = _option(None, path="file", needs="heal_data")
    # Tokens to train on; None: all of the text once, up to a limit.
    heal_tokens: int | None = _option(None, least=1, quantity=True)
    lr: float | None = None  # None: the method's own
    rank: int | None = _option(None, least=1)  # of LoRA; None: the method's own
    lora_alpha: int | None = _option(None, least=1)  # None: the rank
    heal_targets: str = _option("all", choices=HEAL_TARGETS)  # projections with LoRA: all, or the FFN's
    last_layers: int = _option(3, least=1)  # that `partial` trains
    # With `partial`; None: where the head is not tied to the embedding.
    train_head: bool | None = _option(None, negative="keep-head", needs="heal")
    heal_batch: int | None = _option(None, least=1)  # windows per step; None: set by their number
    # Learn the original's predictions; None: where they fit on the disk.
    distill: bool | None = _option(None, negative="no-distill")
    boundary_loss: float = 0.0  # weight of the distance to the original's states after each gap
    eval_data: str | None = _option(None, path="either", commands=EVAL)  # None: the built-in text
    # Held-out text of another domain; None: the built-in one.
    eval_elsewhere: str | None = _option(None, path="file", commands=EVAL)
    eval_samples: int = _option(32, least=1, commands=EVAL)
    # Multiple-choice items; None: made from the held-out text.
    choices: str | None = _option(None, path="file", commands=EVAL)
    choice_items: int = _option(64, least=0, commands=EVAL)
    tasks: str = _option("none", name="eval", commands=EVAL)  # of lm-evaluation-harness: "arc_easy,gsm8k"
    limit: int | None = _option(None, least=1, commands=EVAL)  # items per task; None: all
    fewshot: int | None = _option(None, least=0, commands=EVAL)  # None: as many as the task has it
    tasks_from: str | None = _option(None, path="folder", commands=EVAL)  # with tasks of the user's own
    # "arc_easy=0.45": no worse result is published.
    min_score: str | None = _option(None, repeatable=True, commands=EVAL)
    draft: bool = False  # measure the result as a draft: of its original, or a sorted one of itself
    formats: str = _option(SAFETENSORS, name="format")  # "safetensors,onnx": other formats of the result too
    # Bytes of one safetensors file; None: the shards of the original.
    max_shard_size: int | None = _option(None, least=1, quantity=True)
    device: str = _option("auto", in_files=False, commands=BOTH)
    based_on: str | None = _option(None, name="recipe", in_files=False)  # a built-in recipe, or a file's name

    @property
    def needs_sizes(self) -> bool:
        """Whether the exact sizes of tensors decide how many layers go."""
        return self.target_params is not None or self.target_memory is not None

    @property
    def is_sized_by_loss(self) -> bool:
        """Whether `max_loss` decides how many layers go: the deepest cut within it is taken."""
        return self.max_loss is not None and all(getattr(self, size) is None for size in SIZES)


DEFAULTS = Recipe(model="")
OPTIONS: Mapping[str, Option] = {  # by field
    each.name: each.metadata.get("option", Option()) for each in fields(Recipe)
}
KINDS: Mapping[str, type] = {  # by field: int, float, bool or str, whether or not it may be None too
    name: next(kind for kind in get_args(hint) or (hint,) if kind is not types.NoneType)
    for name, hint in get_type_hints(Recipe).items()
}


def option_name(field_name: str) -> str:
    """The command-line option of a field: "--seq-len" of `sequence_length`."""
    return "--" + (OPTIONS[field_name].name or field_name.replace("_", "-"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """Where a result goes on the Hub."""

    repo_id: str | None = None  # None: USER/NAME
    private: bool = True
    overwrite: bool = False  # even a repository that hf-prune did not make
    branch: str | None = None  # None: main
    create_pr: bool = False  # propose it, and publish nothing
    collection: str | None = None  # to add it to
