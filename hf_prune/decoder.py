"""A decoder run layer by layer from its files: one layer in memory at a time, each read once a pass.

The model's own forward does everything around the layers. To enter, it runs with each layer replaced by
a note-taker, which yields the embedded tokens and the arguments that every layer is called with (masks,
rotary embeddings). To leave, it runs with the last layer answering the finished hidden states, so that
the final norm, the head and whatever a family does to its logits are the family's own code.

Sequences of one pass have equal length and no padding.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hf_prune.activations import ActivationMemory, Activations
from hf_prune.anatomy import Skeleton, build_skeleton, describe, torch_dtype
from hf_prune.errors import UnsupportedModel

TOKENS_AT_ONCE = 2048  # through one layer in one call
POSITIONS_AT_ONCE = 256  # through the head in one call: the logits of a large vocabulary are wide

RunLayer = Callable[[int, Tensor], Tensor]  # (batch number, hidden) -> hidden


class _Entered(Exception):
    """Raised inside the last layer once its arguments are known."""


@dataclass
class _NoteTaker:
    """Stands in for the layers while the model enters: notes each one's arguments."""

    hidden: Tensor | None = None
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)


@dataclass
class StreamedDecoder:
    """A decoder whose weights stay on disk, and the layers' arguments for the tokens of one pass."""

    skeleton: Skeleton
    layer_prefix: str  # of the tensors on disk
    device: torch.device
    dtype: torch.dtype
    memory: ActivationMemory = field(default_factory=ActivationMemory)
    _calls: list[list[tuple[tuple[Any, ...], dict[str, Any]]]] = field(default_factory=list)
    _tuples: bool = False  # whether this family's layers answer a tuple

    @property
    def num_layers(self) -> int:
        """How many decoder layers the checkpoint has."""
        return self.skeleton.num_layers

    @torch.no_grad()
    def enter(self, tokens: Tensor) -> Activations:
        """Embed the tokens and note what every layer is called with.

        Args:
            tokens: ids, (sequences, length).

        Returns:
            Hidden states at the input of layer 0, batch by batch: (batch, length, hidden).
        """
        batches = tokens.split(max(1, TOKENS_AT_ONCE // tokens.shape[1]))
        self._calls, hidden = [], Activations(self.memory)
        with self._outer_weights(lambda name: name not in self._head_names()):
            for batch in batches:
                notes = self._take_notes(batch.to(self.device))
                assert notes.hidden is not None
                hidden.append(notes.hidden)
                # Masks and rotary embeddings are the same for every batch of a shape: keep them once.
                known = next((calls for calls in self._calls if _alike(calls, notes.calls)), None)
                self._calls.append(known or notes.calls)
        return hidden

    @contextmanager
    def layer(self, number: int, replacements: Mapping[str, Tensor] | None = None) -> Iterator[RunLayer]:
        """Layer `number` with its weights read, as a function of (batch number, hidden).

        Gradients are only kept for what requires them: nothing does unless the caller says so.

        Args:
            number: from 0.
            replacements: tensors, by their name on disk, used in place of the stored ones.
        """
        module, path = self.skeleton.layers[number], f"{self.layer_prefix}.{number}."
        empty = dict(module.named_parameters())
        try:
            for name in empty:
                self._assign(module, name, self._read(path + name, replacements or {}))

            def run(batch: int, hidden: Tensor) -> Tensor:
                arguments, keywords = self._calls[batch][number]
                output = module(hidden, *arguments, **keywords)
                return output[0] if isinstance(output, tuple) else output

            yield run
        finally:
            for name, parameter in empty.items():
                self._assign(module, name, parameter)

    @contextmanager
    def head(self) -> Iterator[Callable[[Tensor], Tensor]]:
        """The final norm and head, as a function from hidden (1, positions, hidden) to logits."""
        with self._outer_weights(lambda name: name not in self._embedding_only_names()):
            yield self._logits

    def _logits(self, hidden: Tensor) -> Tensor:
        def through(_: nn.Module, state: Tensor, *arguments: Any, **keywords: Any) -> Any:
            return (hidden,) if self._tuples else hidden

        with self._replaced(through):
            output = self.skeleton.model(inputs_embeds=hidden, use_cache=False)
        return output.logits

    def _take_notes(self, tokens: Tensor) -> _NoteTaker:
        notes = _NoteTaker()
        last = self.skeleton.layers[-1]

        def note(layer: nn.Module, *arguments: Any, **keywords: Any) -> Any:
            state = keywords.pop("hidden_states") if not arguments else arguments[0]
            if notes.hidden is None:
                notes.hidden = state
            elif state.shape != notes.hidden.shape:
                raise _TupleExpected
            notes.calls.append((arguments[1:], keywords))
            if layer is last:
                raise _Entered
            return (state,) if self._tuples else state

        try:
            with self._replaced(note):
                self.skeleton.model(input_ids=tokens, use_cache=False)
        except _Entered:
            pass
        except _TupleExpected:
            self._tuples = not self._tuples
            if not self._tuples:
                raise UnsupportedModel(_strange(self.skeleton)) from None
            return self._take_notes(tokens)
        if len(notes.calls) != self.num_layers:
            raise UnsupportedModel(_strange(self.skeleton))
        return notes

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

    @contextmanager
    def _outer_weights(self, wanted: Callable[[str], bool]) -> Iterator[None]:
        """The parameters outside the layers that are `wanted`, read and put in place."""
        model, inside = self.skeleton.model, f"{self.skeleton.layer_path}."
        outer = {
            name: parameter
            for name, parameter in model.named_parameters(remove_duplicate=False)
            if not name.startswith(inside) and wanted(name)
        }
        read: dict[str, Tensor] = {}  # a tied tensor is read once
        try:
            for name in outer:
                stored = self._stored(name)
                read.setdefault(stored, self._read(stored))
                self._assign(model, name, read[stored])
            yield
        finally:
            for name, parameter in outer.items():
                self._assign(model, name, parameter)

    def _stored(self, name: str) -> str:
        """The name on disk of a parameter, or of the one it is tied to."""
        tied = self.skeleton.model.all_tied_weights_keys
        partners = [name, *(v for k, v in tied.items() if k == name)]
        partners += [k for k, v in tied.items() if v == name]
        found = (self.skeleton.stored_name(partner) for partner in partners)
        return next(stored for stored in found if stored is not None)

    def _head_names(self) -> frozenset[str]:
        head = self.skeleton.model.get_output_embeddings()
        return self._names_of(head) if self._stored_apart(head) else frozenset()

    def _embedding_only_names(self) -> frozenset[str]:
        return self._names_of(self.skeleton.model.get_input_embeddings())

    def _names_of(self, module: nn.Module | None) -> frozenset[str]:
        modules = self.skeleton.model.named_modules()
        path = next((name for name, candidate in modules if candidate is module), None)
        if path is None or module is None:
            return frozenset()
        return frozenset(f"{path}.{name}" for name, _ in module.named_parameters())

    def _stored_apart(self, head: nn.Module | None) -> bool:
        return bool(self._names_of(head)) and not self.skeleton.model.config.tie_word_embeddings

    def _read(self, stored: str, replacements: Mapping[str, Tensor] | None = None) -> Tensor:
        replacement = (replacements or {}).get(stored)
        tensor = self.skeleton.index.tensors[stored].read() if replacement is None else replacement
        dtype = self.dtype if tensor.is_floating_point() else tensor.dtype
        return tensor.to(device=self.device, dtype=dtype)

    @staticmethod
    def _assign(module: nn.Module, name: str, tensor: Tensor) -> None:
        path, _, attribute = name.rpartition(".")
        owner = module.get_submodule(path)
        if not isinstance(tensor, nn.Parameter):
            tensor = nn.Parameter(tensor, requires_grad=False)
        owner._parameters[attribute] = tensor


def _alike(first: Any, second: Any) -> bool:
    """Whether two nests of arguments hold the same values."""
    if isinstance(first, Tensor):
        return isinstance(second, Tensor) and first.shape == second.shape and torch.equal(first, second)
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(_alike(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        return len(first) == len(second) and all(map(_alike, first, second))
    return first is second or bool(first == second)


class _TupleExpected(Exception):
    """Raised when the model took the first item of what a layer answered."""


def _strange(skeleton: Skeleton) -> str:
    return (
        f"{type(skeleton.model).__name__} does not pass one stream of hidden states through its "
        f"{skeleton.num_layers} layers in order; such models cannot be cut so far"
    )


def open_decoder(
    folder: Path, device: torch.device, memory: ActivationMemory | None = None
) -> StreamedDecoder:
    """The decoder in `folder`, ready to be run layer by layer.

    Args:
        folder: a model in safetensors form.
        device: where the layers are computed and the hidden states are kept.
        memory: how much the hidden states may take; None: no limit.

    Raises:
        UnsupportedModel: its structure is not one that can be run so.
    """
    skeleton = build_skeleton(folder)
    for module in skeleton.model.modules():
        for name, buffer in module._buffers.items():
            module._buffers[name] = None if buffer is None else buffer.to(device)
    return StreamedDecoder(
        skeleton=skeleton,
        layer_prefix=skeleton.layer_prefix,
        device=device,
        dtype=torch_dtype(describe(skeleton).dtype, device),
        memory=memory or ActivationMemory(),
    )


def run_layers(
    decoder: StreamedDecoder,
    hidden: Activations,
    layers: Iterable[int],
    replacements: Mapping[str, Tensor] | None = None,
) -> Activations:
    """Pass hidden states through the given layers, in that order.

    Args:
        decoder: it has entered the tokens that `hidden` stands for.
        hidden: batch by batch, (batch, length, hidden); left as they are.
        layers: their numbers; of none, the answer is `hidden` itself.
        replacements: tensors, by their name on disk, used in place of the stored ones.
    """
    states = hidden
    for number in layers:
        with decoder.layer(number, replacements) as run:
            target = Activations(decoder.memory) if states is hidden else states
            for batch, state in enumerate(states):
                target[batch] = run(batch, state)
            states = target
    return states


def states_after(run: RunLayer, hidden: Activations) -> Activations:
    """What a layer makes of hidden states, batch by batch; `hidden` is left as it is.

    Args:
        run: the layer, its weights in place.
        hidden: (batch, length, hidden).
    """
    after = Activations(hidden.memory)
    for batch, state in enumerate(hidden):
        after.append(run(batch, state))
    return after
