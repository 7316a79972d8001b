"""A decoder run layer by layer from its files: one layer in memory at a time, each read once a pass.

The model's own forward does everything around the layers: to enter, with recorders of their calls in their
places, and to leave, with layers that return the finished hidden states. Sequences of one pass have equal
length and no padding. `replacements` are tensors by their name on disk, used in place of the stored ones.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from hf_prune.errors import UnsupportedModel, first_line
from hf_prune.model import stream
from hf_prune.model.activations import ActivationMemory, Activations
from hf_prune.model.anatomy import describe, torch_dtype
from hf_prune.model.in_place import in_place
from hf_prune.model.model_class import auto_class, first_output, model_inputs
from hf_prune.model.skeleton import Skeleton, build_skeleton
from hf_prune.records import IMAGE_ENCODER

TOKENS_AT_ONCE = 2048  # through one layer in one call
IMAGES_AT_ONCE = 8  # the same for an encoder of images, whose number of tokens is not known beforehand
MOST_RETURNED = 3  # values that a layer may return
POSITIONS_AT_ONCE = 256  # through the head in one call: the logits of a large vocabulary are wide

RunLayer = Callable[[int, Tensor], Tensor]  # (batch number, hidden) -> hidden


@dataclass
class StreamedDecoder:
    """A decoder whose weights stay on disk, and the layers' arguments for the tokens of one pass."""

    skeleton: Skeleton
    device: torch.device
    dtype: torch.dtype
    memory: ActivationMemory = field(default_factory=ActivationMemory)
    _calls: list[list[tuple[tuple[Any, ...], dict[str, Any]]]] = field(default_factory=list)
    _num_returned: int = 0  # how many values this family's layers return in a tuple; 0: a tensor alone
    _needs_ids: bool | None = None  # whether the model takes token ids alone; None: not yet tried
    _state: stream.StateShape = field(default_factory=stream.StateShape)
    _zero_input: Tensor = field(default_factory=lambda: torch.empty(0))

    @property
    def num_layers(self) -> int:
        """How many decoder layers the checkpoint has."""
        return self.skeleton.num_layers

    @torch.no_grad()
    def enter(self, tokens: Tensor) -> Activations:
        """Embed the tokens and note what every layer is called with.

        Args:
            tokens: ids, (sequences, length), or pixel values, (images, channels, height, width).

        Returns:
            Hidden states at the input of layer 0, batch by batch: (batch, length, hidden).
        """
        images = self.skeleton.kind == IMAGE_ENCODER
        batches = tokens.split(IMAGES_AT_ONCE if images else max(1, TOKENS_AT_ONCE // tokens.shape[1]))
        self._zero_input = torch.zeros_like(batches[0][:1], device=self.device)
        self._calls, hidden = [], Activations(self.memory)
        with self._outer_weights(without=self.skeleton.model.get_output_embeddings()):
            for batch in batches:
                recorder = self._record_calls(batch.to(self.device))
                assert recorder.hidden is not None
                self._state = stream.StateShape.of(recorder.hidden, batch, self.skeleton)
                hidden.append(self._state.flat(recorder.hidden))
                # Masks and rotary embeddings are the same for every batch of a shape: keep them once.
                known = next((calls for calls in self._calls if stream.alike(calls, recorder.calls)), None)
                self._calls.append(known or recorder.calls)
        return hidden

    @contextmanager
    def layer(self, number: int, replacements: Mapping[str, Tensor] | None = None) -> Iterator[RunLayer]:
        """Layer `number` with its weights read, as a function of (batch number, hidden).

        No parameter requires a gradient unless the caller says so.
        """
        prefix = f"{self.skeleton.layer_path}.{number}."
        names = [name for name in self.skeleton.loading_rules.model_tensors if name.startswith(prefix)]
        with self._in_place(names, replacements or {}):
            yield lambda batch, hidden: self._run_layer(number, batch, hidden)

    def _run_layer(self, number: int, batch: int, hidden: Tensor) -> Tensor:
        arguments, keywords = self._calls[batch][number]
        layer = f"layer {number} of {self.skeleton.config.model_type}"
        try:
            with stream.in_isolation(keywords):
                output = self.skeleton.layers[number](self._state.own(hidden), *arguments, **keywords)
        except stream.LayerDependency as error:
            raise UnsupportedModel(
                f"{layer} {error}; layers that depend on one another cannot be cut so far"
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise UnsupportedModel(
                f"{layer} cannot run on hidden states alone: {first_line(error)}"
            ) from error
        state = self._state.flat(output[0] if isinstance(output, tuple | list) else output)
        if state.shape != hidden.shape:
            raise stream.unsupported_stream(self.skeleton, f"layer {number} changes their shape")
        return state

    @contextmanager
    def head(self) -> Iterator[Callable[[Tensor], Tensor]]:
        """The final norm and head, as a function from hidden (1, positions, hidden) to logits.

        An encoder's wants all positions, and returns the last hidden states if it has no head.
        """
        if not self._needs_ids:
            with self._outer_weights(without=self.skeleton.model.get_input_embeddings()):
                if self._needs_ids is None:
                    self._needs_ids = not self._takes_embeddings()
                if not self._needs_ids:
                    yield self._logits
                    return
        with self._outer_weights():
            yield self._logits

    def _takes_embeddings(self) -> bool:
        """Whether the model runs from embedded tokens, so that its embedding need not be read."""
        if self.skeleton.kind == IMAGE_ENCODER:
            return False
        state = torch.zeros(1, 1, math.prod(self._state.tail), dtype=self.dtype, device=self.device)
        try:
            self._logits(state)
        except stream.FORWARD_ERRORS:
            return False
        return True

    def _logits(self, hidden: Tensor) -> Tensor:
        state = self._state.own(hidden)
        with self._replaced(lambda *arguments, **keywords: self._layer_output(state, None)):
            return first_output(self.skeleton.model, self.skeleton.kind, **self._placeholder_inputs(hidden))

    def _placeholder_inputs(self, hidden: Tensor) -> dict[str, Tensor]:
        """Inputs of the model in the shape of `hidden`; their values are not read."""
        batch, length = hidden.shape[:2]
        if self.skeleton.kind == IMAGE_ENCODER:
            return model_inputs(self.skeleton.kind, self._zero_input.expand(batch, -1, -1, -1))
        if self._needs_ids:
            ids = torch.zeros(batch, length, dtype=torch.long, device=self.device)
            return model_inputs(self.skeleton.kind, ids)
        embedding: Any = self.skeleton.model.get_input_embeddings()
        return {"inputs_embeds": hidden.new_zeros(batch, length, embedding.weight.shape[-1])}

    def _layer_output(self, state: Tensor, beside: Tensor | None) -> Any:
        """The state as a layer of this family would return it."""
        return (state, *[beside] * (self._num_returned - 1)) if self._num_returned else state

    def _record_calls(self, tokens: Tensor) -> stream.CallRecorder:
        """What the layers are called with. How many values they have to return is found by trying."""
        reason, cause = "", None
        for num_returned, marker in self._return_forms():
            self._num_returned = num_returned
            try:
                recorder = self._probe(tokens, marker)
            except stream.FORWARD_ERRORS as error:
                reason, cause = reason or first_line(error), cause or error
                continue
            if len(recorder.calls) == self.num_layers:
                return recorder
            reason = f"it runs {len(recorder.calls)} layers for a text"
        raise stream.unsupported_stream(self.skeleton, reason) from cause

    def _return_forms(self) -> Iterator[tuple[int, Tensor | None]]:
        """What a layer may return, the known form first: how many values, and what beside the state.

        Some families take nothing but None beside the state.
        """
        for num_returned in dict.fromkeys((self._num_returned, *range(MOST_RETURNED + 1))):
            if num_returned > 1:
                yield num_returned, torch.empty(0, device=self.device)
            yield num_returned, None

    def _probe(self, tokens: Tensor, marker: Tensor | None) -> stream.CallRecorder:
        """Run the model once, with a recorder that returns `marker` beside the state in the layers' place."""
        recorder = stream.CallRecorder(marker=marker)
        last = self.skeleton.layers[-1]

        def record(layer: nn.Module, *arguments: Any, **keywords: Any) -> Any:
            state = keywords.pop("hidden_states") if not arguments else arguments[0]
            recorder.record(state, arguments[1:], keywords)
            if layer is last:
                raise stream.LastLayerReached
            return self._layer_output(state, marker)

        model, kind = self.skeleton.model, self.skeleton.kind
        try:
            with self._replaced(record):
                first_output(model, kind, **model_inputs(kind, tokens))
        except stream.LastLayerReached:
            pass
        except stream.StreamChanged as error:
            raise UnsupportedModel(
                f"{type(model).__name__} {error}; such models cannot be measured layer by layer"
            ) from error
        return recorder

    @contextmanager
    def _replaced(self, forward: Callable[..., Any]) -> Iterator[None]:
        layers = self.skeleton.layers
        try:
            for layer in layers:
                layer.forward = forward.__get__(layer)
            yield
        finally:
            for layer in layers:
                del layer.forward

    def _outer_weights(self, without: nn.Module | None = None) -> AbstractContextManager[None]:
        """Read the weights outside the layers into the model, except those that only `without` uses.

        A tower for pictures or sound is a model of its own, which text does not pass through.
        """
        path, partners = self.skeleton.layer_path, self.skeleton.partners
        modules = dict(self.skeleton.model.named_modules())
        towers = [name for name, module in modules.items() if name and isinstance(module, PreTrainedModel)]
        skipped = (f"{path}.", *(f"{name}." for name in towers if not path.startswith(f"{name}.")))
        outer = [n for n in self.skeleton.loading_rules.model_tensors if not n.startswith(skipped)]
        unneeded = tuple(f"{name}." for name, module in modules.items() if module is without)
        return self._in_place([n for n in outer if partners.get(n) or not n.startswith(unneeded)], {})

    def _in_place(self, names: list[str], replacements: Mapping[str, Tensor]) -> AbstractContextManager[None]:
        return in_place(self.skeleton, names, replacements, device=self.device, dtype=self.dtype)


def open_decoder(
    folder: Path,
    device: torch.device,
    memory: ActivationMemory | None = None,
    *,
    trust_remote_code: bool = False,
) -> StreamedDecoder:
    """The decoder in `folder`, ready to be run layer by layer on `device`, where its hidden states are kept.

    Raises:
        UnsupportedModel: its structure does not allow that.
    """
    skeleton = build_skeleton(folder, trust_remote_code=trust_remote_code)
    for module in skeleton.model.modules():
        for name, buffer in module._buffers.items():
            module._buffers[name] = None if buffer is None else buffer.to(device)
    dtype = torch_dtype(describe(skeleton).dtype, device)
    return StreamedDecoder(skeleton, device, dtype, memory or ActivationMemory())


def run_layers(
    decoder: StreamedDecoder,
    hidden: Activations,
    layers: Iterable[int],
    replacements: Mapping[str, Tensor] | None = None,
) -> Activations:
    """Pass the hidden states of the tokens that were entered last through some layers, in the order given.

    `hidden` is left as it is. Without any layers, it is what is returned.
    """
    states = hidden
    for number in layers:
        with decoder.layer(number, replacements) as run:
            target = Activations(decoder.memory) if states is hidden else states
            for batch, state in enumerate(states):
                target[batch] = run(batch, state)
            states = target
    return states


@torch.inference_mode()
def logits_by_sequence(
    decoder: StreamedDecoder,
    tokens: Tensor,
    layers: Iterable[int],
    replacements: Mapping[str, Tensor] | None = None,
) -> Iterator[Tensor]:
    """What a model predicts with some of its layers for tokens (sequences, length), sequence by sequence.

    Yields:
        (1, length, vocabulary), float32; for an encoder its first output.
    """
    hidden = run_layers(decoder, decoder.enter(tokens), layers, replacements)
    with decoder.head() as logits_of:
        for batch in hidden:
            for sequence in batch.split(1):
                yield logits_of(sequence).float()


def load_with_info(folder: Path, decoder: StreamedDecoder) -> tuple[Any, dict[str, Any]]:
    """A whole model as its users load it, and transformers' report on missing and unexpected tensors.

    It is loaded by the class, in the dtype and onto the device of `decoder`.
    """
    skeleton = decoder.skeleton
    model, info = auto_class(skeleton.whole_config).from_pretrained(
        folder, dtype=decoder.dtype, output_loading_info=True, trust_remote_code=skeleton.trust_remote_code
    )
    return model.to(decoder.device).eval(), info


def states_after(run: RunLayer, hidden: Activations) -> Activations:
    """Hidden states after the layer `run`, batch by batch; `hidden` is left as it is."""
    after = Activations(hidden.memory)
    for batch, state in enumerate(hidden):
        after.append(run(batch, state))
    return after
