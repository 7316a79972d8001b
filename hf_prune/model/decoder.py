"""A decoder run layer by layer from its files: one layer in memory at a time, each read once a pass.

The model's own forward does everything around the layers. To enter, it runs with each layer replaced by
a note-taker, which yields the embedded tokens and the arguments that every layer is called with (masks,
rotary embeddings). To leave, it runs with the last layer answering the finished hidden states, so that
the final norm, the head and whatever a family does to its logits are the family's own code.

Sequences of one pass have equal length and no padding.
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
from hf_prune.model.activations import ActivationMemory, Activations
from hf_prune.model.anatomy import describe, torch_dtype
from hf_prune.model.in_place import in_place
from hf_prune.model.model_class import answer_of, auto_class, named_inputs
from hf_prune.model.skeleton import Skeleton, build_skeleton
from hf_prune.model.stream import (
    UNLIKE,
    Dependent,
    Entered,
    Meddled,
    NoteTaker,
    StateShape,
    alike,
    in_isolation,
    strange,
)
from hf_prune.records import IMAGE_ENCODER

TOKENS_AT_ONCE = 2048  # through one layer in one call
IMAGES_AT_ONCE = 8  # of an encoder of images, whose tokens are not known before
MOST_ANSWERS = 3  # values that a layer hands back
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
    _answers: int = 0  # how many values this family's layers answer in a tuple; 0: a tensor alone
    _by_ids: bool | None = None  # whether the model takes tokens alone, not what they are embedded as
    _state: StateShape = field(default_factory=lambda: StateShape())
    _blank: Tensor = field(default_factory=lambda: torch.empty(0))  # one input, all zeros

    @property
    def num_layers(self) -> int:
        """How many decoder layers the checkpoint has."""
        return self.skeleton.num_layers

    @torch.no_grad()
    def enter(self, tokens: Tensor) -> Activations:
        """Embed the tokens and note what every layer is called with.

        Args:
            tokens: ids, (sequences, length); of an encoder of images the pixel values, (images, channels,
                height, width).

        Returns:
            Hidden states at the input of layer 0, batch by batch: (batch, length, hidden).
        """
        images = self.skeleton.kind == IMAGE_ENCODER
        batches = tokens.split(IMAGES_AT_ONCE if images else max(1, TOKENS_AT_ONCE // tokens.shape[1]))
        self._blank = torch.zeros_like(batches[0][:1], device=self.device)
        self._calls, hidden = [], Activations(self.memory)
        with self._outer_weights(lambda name: name not in self._head_names()):
            for batch in batches:
                notes = self._take_notes(batch.to(self.device))
                assert notes.hidden is not None
                self._state = StateShape.of(notes.hidden, batch, self.skeleton)
                hidden.append(self._state.flat(notes.hidden))
                # Masks and rotary embeddings are the same for every batch of a shape: keep them once.
                known = next((calls for calls in self._calls if alike(calls, notes.calls)), None)
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
        module, inside = self.skeleton.layers[number], f"{self.skeleton.layer_path}.{number}."
        names = [name for name in self.skeleton.names.wanted if name.startswith(inside)]
        with self._in_place(names, replacements or {}):

            def run(batch: int, hidden: Tensor) -> Tensor:
                arguments, keywords = self._calls[batch][number]
                try:
                    with in_isolation(keywords):
                        output = module(self._state.own(hidden), *arguments, **keywords)
                except Dependent as error:
                    raise UnsupportedModel(
                        f"layer {number} of {self.skeleton.config.model_type} {error}; layers that depend "
                        f"on one another cannot be cut so far"
                    ) from error
                except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
                    raise UnsupportedModel(
                        f"layer {number} of {self.skeleton.config.model_type} cannot run on hidden states "
                        f"alone: {first_line(error)}"
                    ) from error
                state = self._state.flat(output[0] if isinstance(output, tuple | list) else output)
                if state.shape != hidden.shape:
                    raise UnsupportedModel(strange(self.skeleton, f"layer {number} changes their shape"))
                return state

            yield run

    @contextmanager
    def head(self) -> Iterator[Callable[[Tensor], Tensor]]:
        """The final norm and head, as a function from hidden (1, positions, hidden) to logits.

        An encoder's wants all positions, and answers the last hidden states where it has no head.
        """
        if not self._by_ids:
            with self._outer_weights(lambda name: name not in self._embedding_only_names()):
                if self._by_ids is None:
                    self._by_ids = not self._takes_embeddings()
                if not self._by_ids:
                    yield self._logits
                    return
        with self._outer_weights(lambda name: True):
            yield self._logits

    def _takes_embeddings(self) -> bool:
        """Whether the model runs from embedded tokens, so that its embedding need not be read."""
        if self.skeleton.kind == IMAGE_ENCODER:
            return False
        state = torch.zeros(1, 1, math.prod(self._state.tail), dtype=self.dtype, device=self.device)
        try:
            self._logits(state)
        except UNLIKE:
            return False
        return True

    def _logits(self, hidden: Tensor) -> Tensor:
        state = self._state.own(hidden)

        def through(*arguments: Any, **keywords: Any) -> Any:
            return self._answer(state, None)

        shape = hidden.shape[:2]
        if self.skeleton.kind == IMAGE_ENCODER:
            entering = self._named(self._blank.expand(len(hidden), -1, -1, -1))
        elif self._by_ids:
            entering = self._named(torch.zeros(shape, dtype=torch.long, device=self.device))
        else:
            embedding: Any = self.skeleton.model.get_input_embeddings()
            width = embedding.weight.shape[-1]
            entering = {"inputs_embeds": hidden.new_zeros(*shape, width)}
        with self._replaced(through):
            return answer_of(self.skeleton.model, self.skeleton.kind, **entering)

    def _named(self, inputs: Tensor) -> dict[str, Tensor]:
        return named_inputs(self.skeleton.kind, inputs)

    def _answer(self, state: Tensor, beside: Tensor | None) -> Any:
        """The state as a layer of this family would answer it."""
        return (state, *[beside] * (self._answers - 1)) if self._answers else state

    def _take_notes(self, tokens: Tensor) -> NoteTaker:
        """What the layers are called with; how many values they are expected to answer is tried."""
        reason, cause = "", None
        for answers in dict.fromkeys((self._answers, *range(MOST_ANSWERS + 1))):
            self._answers = answers
            for mark in (torch.empty(0, device=self.device), None) if answers > 1 else (None,):
                try:
                    notes = self._notes_of(tokens, mark)
                except Meddled as error:
                    kind = type(self.skeleton.model).__name__
                    raise UnsupportedModel(
                        f"{kind} {error}; such models cannot be measured layer by layer"
                    ) from error
                except UNLIKE as error:
                    reason, cause = reason or first_line(error), cause or error
                    continue
                if len(notes.calls) == self.num_layers:
                    return notes
                reason = f"of a text, {len(notes.calls)} layers are run"
        raise UnsupportedModel(strange(self.skeleton, reason)) from cause

    def _notes_of(self, tokens: Tensor, mark: Tensor | None) -> NoteTaker:
        notes = NoteTaker(mark=mark)
        last = self.skeleton.layers[-1]

        def note(layer: nn.Module, *arguments: Any, **keywords: Any) -> Any:
            state = keywords.pop("hidden_states") if not arguments else arguments[0]
            notes.add(state, arguments[1:], keywords)
            if layer is last:
                raise Entered
            return self._answer(state, mark)

        try:
            with self._replaced(note):
                answer_of(self.skeleton.model, self.skeleton.kind, **self._named(tokens))
        except Entered:
            pass
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
        """What lies outside the layers and is `wanted`, read and put in place.

        A tower for pictures or sound is a model of its own, which text does not pass through.
        """
        path = self.skeleton.layer_path
        modules = self.skeleton.model.named_modules()
        towers = [
            f"{name}."
            for name, module in modules
            if name and isinstance(module, PreTrainedModel) and not path.startswith(f"{name}.")
        ]
        passed = (*towers, f"{path}.")
        outer = [name for name in self.skeleton.names.wanted if not name.startswith(passed)]
        with self._in_place([name for name in outer if wanted(name)], {}):
            yield

    def _in_place(self, names: list[str], replacements: Mapping[str, Tensor]) -> AbstractContextManager[None]:
        return in_place(self.skeleton, names, replacements, device=self.device, dtype=self.dtype)

    def _embedding_only_names(self) -> frozenset[str]:
        """The embedding, where the head does not share it."""
        embedding = self._names_of(self.skeleton.model.get_input_embeddings())
        return frozenset(name for name in embedding if not self.skeleton.partners.get(name))

    def _head_names(self) -> frozenset[str]:
        head = self._names_of(self.skeleton.model.get_output_embeddings())
        return frozenset(name for name in head if not self.skeleton.partners.get(name))

    def _names_of(self, module: nn.Module | None) -> frozenset[str]:
        modules = self.skeleton.model.named_modules()
        path = next((name for name, candidate in modules if candidate is module), None)
        if path is None or module is None:
            return frozenset()
        return frozenset(f"{path}.{name}" for name, _ in module.named_parameters())


def open_decoder(
    folder: Path,
    device: torch.device,
    memory: ActivationMemory | None = None,
    *,
    trust_remote_code: bool = False,
) -> StreamedDecoder:
    """The decoder in `folder`, ready to be run layer by layer.

    Args:
        folder: a model in safetensors form.
        device: where the layers are computed and the hidden states are kept.
        memory: how much the hidden states may take; None: no limit.
        trust_remote_code: whether code that the model brings may be run.

    Raises:
        UnsupportedModel: its structure is not one that can be run so.
    """
    skeleton = build_skeleton(folder, trust_remote_code=trust_remote_code)
    for module in skeleton.model.modules():
        for name, buffer in module._buffers.items():
            module._buffers[name] = None if buffer is None else buffer.to(device)
    return StreamedDecoder(
        skeleton=skeleton,
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


@torch.inference_mode()
def logits_by_sequence(
    decoder: StreamedDecoder,
    tokens: Tensor,
    layers: Iterable[int],
    replacements: Mapping[str, Tensor] | None = None,
) -> Iterator[Tensor]:
    """What a model of some layers predicts, one sequence after another.

    Args:
        decoder: the model.
        tokens: (sequences, length).
        layers: their numbers, in order.
        replacements: tensors, by their name on disk, used in place of the stored ones.

    Yields:
        (1, length, vocabulary), float32; of an encoder what it answers first.
    """
    hidden = run_layers(decoder, decoder.enter(tokens), layers, replacements)
    with decoder.head() as logits_of:
        for batch in hidden:
            for sequence in batch.split(1):
                yield logits_of(sequence).float()


def load_whole(folder: Path, decoder: StreamedDecoder) -> tuple[Any, dict[str, Any]]:
    """A model as a user of the Hub would load it, and what transformers noticed on the way.

    Args:
        folder: of the model.
        decoder: says where and in what it is computed, and by which class it is loaded.
    """
    skeleton = decoder.skeleton
    loaded: Any = auto_class(skeleton.whole_config).from_pretrained(
        folder,
        dtype=decoder.dtype,
        output_loading_info=True,
        trust_remote_code=skeleton.trust_remote_code,
    )
    model, loading = loaded
    return model.to(decoder.device).eval(), loading


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
