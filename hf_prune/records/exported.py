"""A model in a format beside safetensors, and the checks that it passed."""

from dataclasses import dataclass

from hf_prune.records.model import Check


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
