"""A model: where it came from, what it is made of, its files, and what was proved of them."""

from dataclasses import dataclass

DECODER, TEXT_ENCODER, IMAGE_ENCODER = "decoder", "text encoder", "image encoder"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A model on this disk, and where it came from."""

    model: str  # what the user asked for
    repo_id: str | None
    revision: str | None
    commit: str | None
    folder: str
    gguf_file: str | None = None
    pickled: bool = False  # its weights were read from pytorch_model.bin
    own_code: tuple[str, ...] = ()  # files of code that its settings refer to, where it was loaded by them
    license: str | None = None
    license_name: str | None = None
    license_link: str | None = None
    legal_files: tuple[str, ...] = ()  # licences, notices and rules of use beside its weights
    gated: bool = False
    gate: str | None = None  # "auto" or "manual"; None: not gated, or not known which
    languages: tuple[str, ...] = ()
    notice: str | None = None  # what the user should know about how the model was found

    @property
    def gate_to_keep(self) -> str | None:
        """The gate that goes before what is published of it; the stricter where it is not known which."""
        return self.gate or ("manual" if self.gated else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Anatomy:
    """What the files of a checkpoint say about its decoder layers."""

    architecture: str
    auto_class: str  # of transformers, that loads it: "AutoModelForCausalLM"
    model_type: str
    num_layers: int
    layer_path: str  # of the decoder layers among the model's modules: "model.layers"
    hidden_size: int
    vocabulary_size: int  # 0: it reads no text
    dtype: str
    parameters: int
    parameters_per_layer: tuple[int, ...]
    size_bytes: int
    tied_embeddings: bool
    key_value_bytes_per_token: int | None
    kind: str = DECODER  # or TEXT_ENCODER or IMAGE_ENCODER


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightFile:
    """One safetensors file of a checkpoint."""

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A complete model folder that a stage wrote."""

    variant: str  # "cut", "bridged" or "healed"
    folder: str
    parameters: int
    size_bytes: int
    weights: tuple[WeightFile, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was proved, and the figure that proves it."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What was compared after reloading a checkpoint from disk."""

    variant: str
    checks: tuple[Check, ...]
    left_out: str | None = None  # what could not be compared here, and why
