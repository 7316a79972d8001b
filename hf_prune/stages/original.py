"""The original model with its texts or images: located first, then opened. Each part is read when needed."""

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
from hf_prune.model.activations import ActivationMemory
from hf_prune.model.anatomy import describe
from hf_prune.model.decoder import StreamedDecoder, open_decoder
from hf_prune.model.layer_config import reason_against
from hf_prune.recipe.faults import check_recipe, refuse_what_needs_a_loss
from hf_prune.recipe.recipe import Recipe
from hf_prune.records import DECODER, TEXT_ENCODER, Anatomy, Source
from hf_prune.stages.source import find as source
from hf_prune.stages.texts.images import Images, pixel_values
from hf_prune.stages.texts.material import Material, read_material
from hf_prune.stages.texts.text import Text
from hf_prune.stages.texts.windows import Windows, set_aside, to_windows, windows_of, windows_part

SELECTION_SEQUENCES = 16  # calibration windows that nothing is fitted on
ELSEWHERE_SEQUENCES = 16  # at most: held-out windows of another domain
SHORT_CALIBRATION_TOKENS = 2048  # for criteria that need a forward pass for every layer
MEMORY_SHARE = 0.5  # of the free memory, for hidden states
CANNOT_BE_LOADED = (ValueError, OSError, KeyError, ImportError, AttributeError, TypeError)


@dataclass(frozen=True, slots=True)
class Located:
    """What is known of a model and its texts before its weights are fetched."""

    recipe: Recipe
    device: torch.device
    model: source.LocatedModel
    material: Material
    anatomy: Anatomy


@dataclass(frozen=True)
class Original:
    """The model to prune, its windows of text or images, and its tokenizer: every stage reads these."""

    recipe: Recipe
    source: Source
    identity: str  # changes when the model's content does
    material: Material
    device: torch.device
    memory: ActivationMemory

    @cached_property
    def folder(self) -> Path:
        """The folder with its files."""
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
    def anatomy(self) -> Anatomy:
        """Its layers, parameters and bytes."""
        return describe(self.decoder.skeleton)

    @property
    def calibration(self) -> Windows:
        """Windows to measure layers and fit bridges on."""
        return self._calibration_and_selection[0]

    @property
    def selection(self) -> Windows:
        """Windows to choose cuts and bridges by, not fitted on: the calibration's, if there is only one."""
        return self._calibration_and_selection[1]

    @cached_property
    def _calibration_and_selection(self) -> tuple[Windows, Windows]:
        count = self.recipe.samples + SELECTION_SEQUENCES
        windows = self._windows(self.material.fitted, count, seed=self.recipe.seed)
        calibration, selection = set_aside(windows, SELECTION_SEQUENCES)
        return calibration, selection if len(selection.ids) else calibration

    @cached_property
    def short_calibration(self) -> Windows:
        """The first calibration windows, for criteria that need many passes."""
        count = -(-SHORT_CALIBRATION_TOKENS // self.calibration.ids.shape[1])
        return windows_part(self.calibration, 0, min(count, len(self.calibration.ids)))

    @cached_property
    def heldout(self) -> Windows:
        """Windows for evaluation only."""
        return self._windows(self.material.heldout, self.recipe.eval_samples, seed=None)

    @cached_property
    def heldout_elsewhere(self) -> Windows:
        """Windows of another domain, for evaluation only. An encoder has none."""
        count = min(self.recipe.eval_samples, ELSEWHERE_SEQUENCES)
        return self._windows(self.material.elsewhere, count, seed=None)

    def healing_windows(self, count: int) -> Windows:
        """`count` windows of the text to train on, or as many as it has."""
        return self._windows(self.material.healing_text, count, seed=None)

    def open(self, folder: Path) -> StreamedDecoder:
        """Another model on this device, which shares the memory for hidden states."""
        trusted = self.recipe.trust_remote_code
        return open_decoder(folder, self.device, self.memory, trust_remote_code=trusted)

    @cached_property
    def window_length(self) -> int:
        """Tokens of a window: those of --seq-len, or fewer if the model cannot take so many."""
        limits = [self.max_positions]
        if self.decoder.skeleton.kind == TEXT_ENCODER:
            # RoBERTa and its kin count positions that no text can use. Their tokenizers know the real limit.
            limits.append(self.tokenizer.model_max_length)
        return min([self.recipe.sequence_length, *(limit for limit in limits if limit)])

    @property
    def max_positions(self) -> int | None:
        """The longest input in tokens, if the configuration states it."""
        return getattr(self.decoder.skeleton.model.config, "max_position_embeddings", None) or None

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's own. Raises UnsupportedModel where transformers cannot load it."""
        return self._load(AutoTokenizer, "tokenizer", trusted=self.recipe.trust_remote_code)

    @cached_property
    def image_processor(self) -> Any:
        """The model's own, for images. Raises UnsupportedModel where transformers cannot load it."""
        return self._load(AutoImageProcessor, "image processor", trusted=False)

    def _load(self, auto_class: Any, name: str, *, trusted: bool) -> Any:
        try:
            return auto_class.from_pretrained(self.folder, trust_remote_code=trusted)
        except CANNOT_BE_LOADED as error:
            reason = first_line(error)
            raise UnsupportedModel(f"the {name} in {self.folder} cannot be loaded: {reason}") from error

    def _windows(self, material: Text | Images | None, count: int, *, seed: int | None) -> Windows:
        assert material is not None
        if isinstance(material, Images):
            pixels = pixel_values(material, self.image_processor, num_images=count, shuffle_seed=seed)
            tokens_of_one = self.decoder.enter(pixels[:1])[0].shape[1]
            return windows_of(material, pixels, tokens_of_one)
        whole, length = self.decoder.skeleton.kind == TEXT_ENCODER, self.window_length
        return to_windows(
            material, self.tokenizer, num_sequences=count, length=length, shuffle_seed=seed, whole=whole
        )


def locate(recipe: Recipe, reporter: Reporter | None = None, *, exact: bool = False) -> Located:
    """Check the recipe, find the model and read the texts, so that errors come before anything takes long.

    Args:
        exact: read the sizes from the headers of the weight files.

    Raises:
        HfPruneError: the recipe has a fault, or there is no such device, model or text.
    """
    check_recipe(recipe)
    device = choose_device(recipe.device)
    if recipe.heal != "none" and device.index and "LOCAL_RANK" not in os.environ:
        raise RecipeError(
            f"healing takes the first GPU that it sees, not {device}: set "
            f"CUDA_VISIBLE_DEVICES={device.index} and leave --device out, or give --heal none"
        )
    model = find_original(recipe, reporter or Reporter())
    anatomy = source.fetch_anatomy(model, exact=exact)
    if anatomy.kind != DECODER:
        refuse_what_needs_a_loss(recipe, anatomy)
    material = read_material(recipe, anatomy.kind)
    return Located(recipe=recipe, device=device, model=model, material=material, anatomy=anatomy)


def find_original(recipe: Recipe, reporter: Reporter) -> source.LocatedModel:
    """Find the model that a recipe names.

    Raises:
        SourceError: there is no such model, or none in a form that can be cut.
    """
    trusted = {"allow_pickle": recipe.allow_pickle, "trust_remote_code": recipe.trust_remote_code}
    model = source.find(recipe.model, recipe.revision, recipe.gguf_file, **trusted)
    reporter.tell(model.notice or source.announce(model))
    return model


def open_original(
    located: Located, workspace: Path, *, max_memory: int | None = None, ranks: Ranks = ALONE
) -> Original:
    """Fetch a model and open it. One process fetches it for all.

    Args:
        workspace: for converted GGUF files or pickles, and for hidden states beyond the memory. Created here.
        max_memory: bytes that hidden states may take. None: half of the free memory.
    """
    if not ranks.leads:
        ranks.wait()  # until the first has claimed the run's folder and fetched the model
    workspace.mkdir(parents=True, exist_ok=True)
    fetched = source.fetch_weights(located.model, workspace)
    if ranks.leads:
        ranks.wait()
    if max_memory is None:
        max_memory = int(MEMORY_SHARE * free_memory(located.device)) // ranks.count
    return Original(
        recipe=located.recipe,
        source=fetched,
        identity=located.model.identity,
        material=located.material,
        device=located.device,
        memory=ActivationMemory(limit=max_memory, folder=workspace),
    )
