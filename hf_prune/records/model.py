"""A model: its source, its anatomy, its files in each format, and the proofs of them."""

from dataclasses import dataclass

DECODER, TEXT_ENCODER, IMAGE_ENCODER = "decoder", "text encoder", "image encoder"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A model on this disk, and where it came from."""

    model: str  # as the user named it
    repo_id: str | None
    revision: str | None
    commit: str | None
    folder: str
    gguf_file: str | None = None
    pickled: bool = False  # its weights were read from pytorch_model.bin
    own_code: tuple[str, ...] = ()  # its Python files, if they were run to load it
    license: str | None = None
    license_name: str | None = None
    license_link: str | None = None
    legal_files: tuple[str, ...] = ()  # licences, notices and use policies
    gated: bool = False
    gate: str | None = None  # "auto" or "manual"; None: not gated, or unknown
    languages: tuple[str, ...] = ()
    notice: str | None = None  # for the user: how the model was found

    @property
    def gate_to_keep(self) -> str | None:
        """The gate that a published result needs: the stricter one if the original's is unknown."""
        return self.gate or ("manual" if self.gated else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Anatomy:
    """The sizes and names that the files of a checkpoint give."""

    architecture: str
    auto_class: str  # the class of transformers that loads it: "AutoModelForCausalLM"
    model_type: str
    num_layers: int
    layer_path: str  # the module of the decoder layers: "model.layers"
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
    """One comparison of a proof, with its figure."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """The comparisons of a checkpoint, reloaded from disk, with what it should compute."""

    variant: str
    checks: tuple[Check, ...]
    left_out: str | None = None  # which comparison was skipped, and why


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """The published weights in one more format."""

    format: str  # "onnx", "onnx-8bit", "gguf"
    path: str  # of its main file, in the published folder: "onnx/model.onnx"
    size_bytes: int  # of all its files
    sha256: str  # of the main file
    checks: tuple[Check, ...]  # against the published weights, under the runtime of the format
    divergence: float | None  # mean Kullback-Leibler divergence from those weights over tokens, in nats
    versions: str  # of the packages that wrote and ran it
