"""What the user asks for: one frozen record, checked as a whole before anything is touched."""

from dataclasses import dataclass

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
QUANTITIES = ("target_params", "target_memory", "heal_tokens", "max_shard_size")  # fields that take 5B or 8GB
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
