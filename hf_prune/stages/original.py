"""The original model and its texts or images, opened: each part is read when it is first needed."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import AutoImageProcessor, AutoTokenizer, PreTrainedTokenizerBase

from hf_prune.errors import RecipeError, UnsupportedModel, first_line
from hf_prune.machine.environment import choose_device, free_memory
from hf_prune.machine.processes import ALONE, Ranks
from hf_prune.machine.progress import Reporter
from hf_prune.model import anatomy
from hf_prune.model.activations import ActivationMemory
from hf_prune.model.decoder import StreamedDecoder, open_decoder
from hf_prune.model.layer_config import reason_against
from hf_prune.recipe.faults import check_recipe, refuse_what_needs_a_loss
from hf_prune.recipe.recipe import Recipe
from hf_prune.records import DECODER, TEXT_ENCODER, Anatomy, Source
from hf_prune.stages.source import find as source
from hf_prune.stages.texts import images
from hf_prune.stages.texts.images import Images
from hf_prune.stages.texts.material import Material, read_material
from hf_prune.stages.texts.text import Text
from hf_prune.stages.texts.windows import Windows, longest_window, set_aside, to_windows, windows_part

SELECTION_SEQUENCES = 16  # calibration windows that nothing is fitted on
ELSEWHERE_SEQUENCES = 16  # held-out windows of another domain, at most
PROBE_TOKENS = 2048  # that a single layer's worth is judged by, where each layer needs passes of its own
MEMORY_SHARE = 0.5  # of what is free, for hidden states


@dataclass(frozen=True, slots=True)
class Located:
    """What is known of a model and its texts before its weights are fetched."""

    recipe: Recipe
    device: torch.device
    found: source.Found
    material: Material
    anatomy: Anatomy


@dataclass(frozen=True)
class Original:
    """What every stage asks of the model that is to become smaller."""

    recipe: Recipe
    source: Source
    identity: str  # changes when the model's content does
    material: Material
    device: torch.device
    memory: ActivationMemory

    @cached_property
    def folder(self) -> Path:
        """Where its files are."""
        return Path(self.source.folder)

    @cached_property
    def decoder(self) -> StreamedDecoder:
        """The model, ready to be run layer by layer."""
        return self.open(self.folder)

    @cached_property
    def reason_against(self) -> Callable[[tuple[int, ...]], str | None]:
        """Why the model cannot lose some layers, or None: see `layer_config`."""
        return cache(lambda removed: reason_against(removed, self.decoder.skeleton))

    @cached_property
    def dense(self) -> Anatomy:
        """Its figures."""
        return anatomy.describe(self.decoder.skeleton)

    @cached_property
    def calibration(self) -> tuple[Windows, Windows]:
        """Windows to fit on, and windows to choose by; of a single window both are made."""
        windows = self._windows(
            self.material.texts[0], self.recipe.samples + SELECTION_SEQUENCES, seed=self.recipe.seed
        )
        fitted, aside = set_aside(windows, SELECTION_SEQUENCES)
        return fitted, aside if len(aside.ids) else fitted

    @cached_property
    def probe(self) -> Windows:
        """The first of the windows to fit on, for what takes many passes."""
        fitted = self.calibration[0]
        count = -(-PROBE_TOKENS // fitted.ids.shape[1])
        return windows_part(fitted, 0, min(count, len(fitted.ids)))

    @cached_property
    def heldout(self) -> Windows:
        """Windows that are only measured on."""
        return self._windows(self.material.texts[1], self.recipe.eval_samples, seed=None)

    @cached_property
    def elsewhere(self) -> Windows:
        """Windows of another domain, only measured on too."""
        assert self.material.elsewhere is not None  # an encoder has none
        count = min(self.recipe.eval_samples, ELSEWHERE_SEQUENCES)
        return self._windows(self.material.elsewhere, count, seed=None)

    def healing_windows(self, count: int) -> Windows:
        """So many windows of the text to train on, or as many as it has."""
        assert self.material.healing_text is not None
        return self._windows(self.material.healing_text, count, seed=None)

    def open(self, folder: Path) -> StreamedDecoder:
        """A decoder on this device that shares the memory for hidden states."""
        trusted = self.recipe.trust_remote_code
        return open_decoder(folder, self.device, self.memory, trust_remote_code=trusted)

    @cached_property
    def window_length(self) -> int:
        """Tokens of a window: as many as asked for, or as the model was made for."""
        limits = [self.most_tokens]
        if self.decoder.skeleton.kind == TEXT_ENCODER:
            # RoBERTa and its kin count positions that no text can use; what is left their tokenizers know.
            limits.append(self.tokenizer.model_max_length)
        return longest_window(self.recipe.sequence_length, limits)

    @property
    def most_tokens(self) -> int | None:
        """That the model was made for, where its configuration says so."""
        return getattr(self.decoder.skeleton.model.config, "max_position_embeddings", None) or None

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's own."""
        try:
            trusted = self.recipe.trust_remote_code
            return AutoTokenizer.from_pretrained(self.folder, trust_remote_code=trusted)
        except (ValueError, OSError, KeyError, ImportError, AttributeError, TypeError) as error:
            raise UnsupportedModel(
                f"the tokenizer in {self.folder} cannot be loaded: {first_line(error)}"
            ) from error

    @cached_property
    def image_processor(self) -> Any:
        """The model's own, for images."""
        try:
            return AutoImageProcessor.from_pretrained(self.folder, trust_remote_code=False)
        except (ValueError, OSError, KeyError, ImportError, AttributeError, TypeError) as error:
            raise UnsupportedModel(
                f"the image processor in {self.folder} cannot be loaded: {first_line(error)}"
            ) from error

    def _windows(self, material: Text | Images, count: int, *, seed: int | None) -> Windows:
        if isinstance(material, Images):
            processor = self.image_processor
            pixels = images.pixel_values(material, processor, num_images=count, shuffle_seed=seed)
            tokens = self.decoder.enter(pixels[:1])[0].shape[1]
            return images.to_windows(material, pixels, tokens)
        return to_windows(
            material,
            self.tokenizer,
            num_sequences=count,
            length=self.window_length,
            shuffle_seed=seed,
            whole=self.decoder.skeleton.kind == TEXT_ENCODER,
        )


def locate(recipe: Recipe, reporter: Reporter | None = None, *, exact: bool = False) -> Located:
    """Check what is asked for, find the model, read the texts: all that can go wrong before it takes long.

    Args:
        recipe: what is asked for.
        reporter: is told where the model was found.
        exact: whether its sizes are read from the headers of the weights.

    Raises:
        HfPruneError: the recipe cannot be met, or there is no such device, model or text.
    """
    check_recipe(recipe)
    device = choose_device(recipe.device)
    if recipe.heal != "none" and device.index and "LOCAL_RANK" not in os.environ:
        raise RecipeError(
            f"healing takes the first GPU that it sees, not {device}: set "
            f"CUDA_VISIBLE_DEVICES={device.index} and leave --device out, or give --heal none"
        )
    found = find_original(recipe, reporter or Reporter())
    described = source.fetch_anatomy(found, exact=exact)
    if described.kind != DECODER:
        refuse_what_needs_a_loss(recipe, described)
    material = read_material(recipe, described.kind)
    return Located(
        recipe=recipe,
        device=device,
        found=found,
        material=material,
        anatomy=described,
    )


def find_original(recipe: Recipe, reporter: Reporter) -> source.Found:
    """Where the model is that a recipe names.

    Raises:
        SourceError: there is no such model, or none in a form that can be cut.
    """
    found = source.find(
        recipe.model,
        recipe.revision,
        recipe.gguf_file,
        allow_pickle=recipe.allow_pickle,
        trust_remote_code=recipe.trust_remote_code,
    )
    reporter.tell(found.notice or source.announce(found))
    return found


def open_original(
    located: Located, workspace: Path, *, max_memory: int | None = None, ranks: Ranks = ALONE
) -> Original:
    """Fetch a model, by one process for all, and open it.

    Args:
        located: the model, its texts, and where its layers will run.
        workspace: for converted GGUF files or pickles, and hidden states beyond the memory; it is made.
        max_memory: bytes that hidden states may take; None: half of what is free.
        ranks: the processes that work together.
    """
    if not ranks.leads:
        ranks.wait()  # until the first has claimed the run's folder and fetched the model
    workspace.mkdir(parents=True, exist_ok=True)
    fetched = source.fetch_weights(located.found, workspace)
    if ranks.leads:
        ranks.wait()
    if max_memory is None:
        max_memory = int(MEMORY_SHARE * free_memory(located.device)) // ranks.count
    return Original(
        recipe=located.recipe,
        source=fetched,
        identity=located.found.identity,
        material=located.material,
        device=located.device,
        memory=ActivationMemory(limit=max_memory, folder=workspace),
    )
