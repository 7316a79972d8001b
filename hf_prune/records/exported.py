"""A model in a format beside safetensors, and what was compared before it counts."""

from dataclasses import dataclass

from hf_prune.records.model import Check


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """One more form of the published weights."""

    format: str  # "onnx", "onnx-8bit", "gguf"
    path: str  # of its main file, in the folder that is published: "onnx/model.onnx"
    size_bytes: int  # with its other files
    sha256: str  # of the main file
    checks: tuple[Check, ...]  # against the published weights, under the runtime of the format
    divergence: float | None  # mean Kullback-Leibler divergence from them over tokens, in nats
    versions: str  # of what wrote and ran it
