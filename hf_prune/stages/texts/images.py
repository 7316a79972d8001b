"""Images that encoders of images are measured by: those of a folder, or ones that are drawn here.

Drawn are noise whose amplitudes fall with the frequency as 1/f, as those of photographs do, and plain shapes
over it, the kind of images on which Baradad et al., "Learning to See by Looking at Noise" (2106.05963), train
without a photograph. They stand in where nobody gives images, and only hint at what becomes of real ones.
"""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from hf_prune.errors import OverlappingData, UnusableImages
from hf_prune.machine.disk import sha256_of
from hf_prune.stages.texts.text import Text
from hf_prune.stages.texts.windows import Windows, windows_of

DRAWN_CALIBRATION = range(1024)  # seeds
DRAWN_HELDOUT = range(1024, 2048)
SUFFIXES = (".png", ".jpg", ".jpeg")
SIDE = 256  # of a drawn image, in pixels
MOST_SHAPES = 9


@dataclass(frozen=True)
class Images:
    """Where images come from: files, or the seeds of drawn ones."""

    name: str
    sources: tuple[Path, ...] | tuple[int, ...]


def drawn_images(name: str, seeds: Sequence[int]) -> Images:
    """Images that are drawn when they are asked for."""
    return Images(name=name, sources=tuple(seeds))


def read_images(folder: Path) -> Images:
    """The images in a folder, in order of their names: .png, .jpg and .jpeg.

    Raises:
        UnusableImages: it is no folder, or holds none.
    """
    if not folder.is_dir():
        raise UnusableImages(f"{folder} is no folder: this model reads images, so give a folder of them")
    files = tuple(path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES)
    if not files:
        raise UnusableImages(f"{folder} holds no image: {', '.join(SUFFIXES)} are read")
    return Images(name=folder.resolve().name, sources=files)


def digest(images: Images) -> str:
    """Changes when the images do."""
    return hashlib.sha256("".join(map(_identity, images.sources)).encode()).hexdigest()


def check_disjoint(first: Images, second: Images) -> None:
    """No image may serve both calibration and evaluation.

    Raises:
        OverlappingData: one, byte for byte, is in both.
    """
    seen = set(map(_identity, first.sources))
    shared = [source for source in second.sources if _identity(source) in seen]
    if shared:
        raise OverlappingData(
            f"{len(shared)} images of {second.name} are in {first.name} too, the first is {shared[0]}: "
            f"figures on images that a model was fitted to mean nothing; give other images"
        )


@cache
def _identity(source: Path | int) -> str:
    if isinstance(source, int):
        return f"drawn {source}"
    return sha256_of(source)


def pixel_values(
    images: Images, processor: Any, *, num_images: int, shuffle_seed: int | None = None
) -> torch.Tensor:
    """Images as a model wants them: (images, channels, height, width), float32.

    Args:
        images: where they come from.
        processor: the model's own.
        num_images: how many are wanted; fewer come back where there are fewer.
        shuffle_seed: mixes them first; None keeps their order.

    Raises:
        UnusableImages: one cannot be read, or they come out of unequal sizes.
    """
    sources: list[Path | int] = list(images.sources)
    if shuffle_seed is not None:
        random.Random(shuffle_seed).shuffle(sources)
    values = []
    for source in sources[:num_images]:
        try:
            made = processor(images=_open(source), return_tensors="pt")["pixel_values"]
        except (OSError, ValueError) as error:
            raise UnusableImages(f"the image {source} cannot be read: {error}") from error
        values.append(made)
    if len({value.shape for value in values}) > 1 or values[0].dim() != 4:
        raise UnusableImages(
            f"the model's processor makes images of unequal sizes out of {images.name}: give images that "
            f"are all of one size"
        )
    return torch.cat(values).float()


def to_windows(images: Images, pixels: torch.Tensor, tokens: int) -> Windows:
    """Pixel values with the record that says where they came from; `tokens` are what each image becomes."""
    return windows_of(Text(name=images.name, dataset=None, documents=()), pixels, tokens)


def _open(source: Path | int) -> Image.Image:
    if isinstance(source, int):
        return draw(source)
    with Image.open(source) as image:
        return image.convert("RGB")


def draw(seed: int) -> Image.Image:
    """An image of noise and shapes, the same for the same seed."""
    generator = np.random.default_rng(seed)
    brightness, *colours = (_noise(generator) for _ in range(4))
    channels = [128 + 48 * brightness + 20 * colour for colour in colours]
    image = Image.fromarray(np.stack(channels, axis=-1).clip(0, 255).astype(np.uint8), "RGB")
    pencil = ImageDraw.Draw(image)
    for _ in range(generator.integers(1, MOST_SHAPES)):
        x, y = generator.integers(0, SIDE, size=2).tolist()
        width, height = generator.integers(SIDE // 16, SIDE // 2, size=2).tolist()
        fill = tuple(generator.integers(0, 256, size=3).tolist())
        shape = (pencil.ellipse, pencil.rectangle)[generator.integers(2)]
        shape((x - width // 2, y - height // 2, x + width // 2, y + height // 2), fill=fill)
    return image


def _noise(generator: np.random.Generator) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Of mean 0 and standard deviation 1, its amplitudes falling as 1/f: (SIDE, SIDE)."""
    white = np.fft.rfft2(generator.standard_normal((SIDE, SIDE)))
    frequencies = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None])
    frequencies[0, 0] = np.inf
    noise: np.ndarray[Any, np.dtype[np.float64]] = np.fft.irfft2(white / frequencies, s=(SIDE, SIDE))
    return noise / noise.std()
