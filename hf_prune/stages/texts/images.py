"""Images that image encoders are fitted to and evaluated on: those in your folders."""

import hashlib
import random
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from hf_prune.errors import OverlappingData, UnusableImages
from hf_prune.machine.disk import sha256_of
from hf_prune.stages.texts.text import TextSource

SUFFIXES = (".png", ".jpg", ".jpeg")
HELDOUT_EVERY = 4  # of the calibration images, where no others are given to evaluate on
HELDOUT_NAME = " (set aside)"  # after the folder's name
_sha256 = cache(sha256_of)


@dataclass(frozen=True)
class Images(TextSource):
    """Image files. Their name is that of the folder."""

    paths: tuple[Path, ...]

    @property
    def sha256(self) -> str:
        """Changes when the images do."""
        return hashlib.sha256("".join(map(_sha256, self.paths)).encode()).hexdigest()


def read_images(folder: Path) -> Images:
    """The images in a folder, in order of their names: .png, .jpg and .jpeg.

    Raises:
        UnusableImages: it is no folder, or holds none.
    """
    if not folder.is_dir():
        raise UnusableImages(f"{folder} is no folder: this model reads images, so give a folder of them")
    paths = tuple(path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise UnusableImages(f"{folder} holds no image: hf-prune reads {', '.join(SUFFIXES)}")
    return Images(name=folder.resolve().name, dataset=None, paths=paths)


def set_images_aside(images: Images) -> tuple[Images, Images]:
    """The images to fit on, and every fourth one to evaluate on, without its copies among the others.

    Raises:
        UnusableImages: there are no two different images.
    """
    heldout = replace(images, name=f"{images.name}{HELDOUT_NAME}", paths=images.paths[::HELDOUT_EVERY])
    evaluated = set(map(_sha256, heldout.paths))
    fitted = tuple(path for path in images.paths if _sha256(path) not in evaluated)
    if not fitted:
        raise UnusableImages(
            f"{images.name} holds only one image, and one has to be set aside for evaluation: add images to "
            f"it, or give others by --eval-data"
        )
    return replace(images, paths=fitted), heldout


def recorded_heldout(data: Path, name: str) -> Images:
    """The held-out images of a record: a folder in `data`, or what was set aside of one.

    Raises:
        UnusableImages: there is no such folder, or it holds no image.
    """
    images = read_images(data / name.removesuffix(HELDOUT_NAME))
    return set_images_aside(images)[1] if name.endswith(HELDOUT_NAME) else images


def check_disjoint(fitted: Images, heldout: Images) -> None:
    """Refuse an image that would serve both calibration and evaluation.

    Raises:
        OverlappingData: one, byte for byte, is in both.
    """
    known = set(map(_sha256, fitted.paths))
    shared = [path for path in heldout.paths if _sha256(path) in known]
    if shared:
        raise OverlappingData(
            f"{len(shared)} images of {heldout.name} are in {fitted.name} too, the first is {shared[0]}: "
            f"figures on images that a model was fitted to mean nothing, so give other images"
        )


def pixel_values(
    images: Images, processor: Any, *, num_images: int, shuffle_seed: int | None = None
) -> torch.Tensor:
    """Images in the form that a model reads: (images, channels, height, width), float32.

    At most `num_images` of them, shuffled first unless `shuffle_seed` is None.

    Raises:
        UnusableImages: one cannot be read, or the processor makes them of unequal sizes.
    """
    paths = list(images.paths)
    if shuffle_seed is not None:
        random.Random(shuffle_seed).shuffle(paths)
    pixels = [_pixels(path, processor) for path in paths[:num_images]]
    if len({each.shape for each in pixels}) > 1 or pixels[0].dim() != 4:
        raise UnusableImages(
            f"the model's processor makes images of unequal sizes out of {images.name}: give images that "
            f"are all of one size"
        )
    return torch.cat(pixels).float()


def _pixels(path: Path, processor: Any) -> torch.Tensor:
    try:
        with Image.open(path) as image:
            pixels: torch.Tensor = processor(images=image.convert("RGB"), return_tensors="pt")["pixel_values"]
            return pixels
    except (OSError, ValueError) as error:
        raise UnusableImages(f"the image {path} cannot be read: {error}") from error
