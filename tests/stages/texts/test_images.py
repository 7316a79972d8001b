"""Images: read from a folder, set aside, and shuffled by a seed."""

import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import ViTImageProcessorPil

from hf_prune.errors import UnusableImages
from hf_prune.stages.texts import images
from hf_prune.stages.texts.images import Images
from hf_prune.stages.texts.windows import windows_of
from tests.support.encoders import save_images

PROCESSOR = ViTImageProcessorPil(size={"height": 16, "width": 16})


def names_of(found: Images) -> list[str]:
    return [path.name for path in found.paths]


def test_a_folder_is_read_in_order_and_other_files_are_ignored(tmp_path: Path) -> None:
    folder = save_images(tmp_path / "photos", range(1))
    for name in ("b.png", "a.jpg", "c.JPEG"):
        shutil.copyfile(folder / "000.png", folder / name)
    (folder / "notes.txt").write_text("no image")
    found = images.read_images(folder)
    assert found.name == "photos"
    assert names_of(found) == ["000.png", "a.jpg", "b.png", "c.JPEG"]


def test_images_come_as_the_models_processor_makes_them(tmp_path: Path) -> None:
    found = images.read_images(save_images(tmp_path / "photos", range(2)))
    pixels = images.pixel_values(found, PROCESSOR, num_images=5)
    assert (pixels.shape, pixels.dtype) == ((2, 3, 16, 16), torch.float32)
    alone = PROCESSOR(images=Image.open(found.paths[0]), return_tensors="pt").pixel_values
    assert torch.equal(pixels[:1], alone)
    windows = windows_of(found, pixels, length=5)
    assert (windows.record.num_sequences, windows.record.num_tokens) == (2, 10)


def test_the_same_seed_shuffles_them_alike(tmp_path: Path) -> None:
    found = images.read_images(save_images(tmp_path / "photos", range(8)))
    plain, shuffled, again = (
        images.pixel_values(found, PROCESSOR, num_images=8, shuffle_seed=seed) for seed in (None, 3, 3)
    )
    assert torch.equal(shuffled, again)
    assert not torch.equal(plain, shuffled)


def test_a_copy_of_an_image_that_is_set_aside_is_not_fitted_to(tmp_path: Path) -> None:
    folder = save_images(tmp_path / "photos", range(3))
    shutil.copyfile(folder / "000.png", folder / "copy.png")
    fitted, heldout = images.set_images_aside(images.read_images(folder))
    assert names_of(heldout) == ["000.png"]
    assert names_of(fitted) == ["001.png", "002.png"]


def test_the_digest_depends_on_the_images_and_not_on_their_names(tmp_path: Path) -> None:
    one, two, other = (
        images.read_images(save_images(tmp_path / name, seeds))
        for name, seeds in (("one", range(2)), ("two", range(2)), ("other", range(1, 3)))
    )
    assert one.sha256 == two.sha256 != other.sha256


@pytest.mark.parametrize(
    ("content", "message"),
    [("nothing", "is no folder"), ("empty", "holds no image"), ("broken", "cannot be read")],
)
def test_a_folder_without_images_is_refused_in_one_line(tmp_path: Path, content: str, message: str) -> None:
    folder = tmp_path / "photos"
    if content != "nothing":
        folder.mkdir()
    if content == "broken":
        (folder / "a.png").write_bytes(b"not a picture")
    with pytest.raises(UnusableImages, match=message) as caught:
        images.pixel_values(images.read_images(folder), PROCESSOR, num_images=1)
    assert "\n" not in str(caught.value)
