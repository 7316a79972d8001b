"""Images: read from a folder or drawn, the same each time, and none for two purposes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import ViTImageProcessorPil

from hf_prune.errors import OverlappingData, UnusableImages
from hf_prune.stages.texts import images

PROCESSOR = ViTImageProcessorPil(size={"height": 16, "width": 16})


def save(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        Image.new("RGB", (20, 30), (number * 40, 10, 200)).save(folder / name)
    return folder


def test_a_folder_is_read_in_order_and_other_files_are_left(tmp_path: Path) -> None:
    folder = save(tmp_path / "photos", "b.png", "a.jpg", "c.JPEG")
    (folder / "notes.txt").write_text("no image")
    found = images.read_images(folder)
    assert found.name == "photos"
    assert [Path(source).name for source in found.sources] == ["a.jpg", "b.png", "c.JPEG"]


def test_images_come_as_the_models_processor_wants_them(tmp_path: Path) -> None:
    found = images.read_images(save(tmp_path / "photos", "a.png", "b.png"))
    pixels = images.pixel_values(found, PROCESSOR, num_images=5)
    assert (pixels.shape, pixels.dtype) == ((2, 3, 16, 16), torch.float32)
    alone = PROCESSOR(images=Image.open(found.sources[0]), return_tensors="pt").pixel_values
    assert torch.equal(pixels[:1], alone)
    windows = images.to_windows(found, pixels, tokens=5)
    assert (windows.record.num_sequences, windows.record.num_tokens) == (2, 10)


def test_a_seed_mixes_them_and_the_same_seed_mixes_them_alike() -> None:
    drawn = images.drawn_images("drawn", range(8))
    plain, mixed, again = (
        images.pixel_values(drawn, PROCESSOR, num_images=8, shuffle_seed=seed) for seed in (None, 3, 3)
    )
    assert torch.equal(mixed, again)
    assert not torch.equal(plain, mixed)


def test_drawn_images_differ_and_their_noise_falls_as_one_over_f() -> None:
    first, second = (np.asarray(images.draw(seed), dtype=float) for seed in (1, 2))
    assert first.shape == (images.SIDE, images.SIDE, 3)
    assert np.array_equal(first, np.asarray(images.draw(1), dtype=float))
    assert not np.array_equal(first, second)
    noise = images._noise(np.random.default_rng(0))
    amplitudes = np.abs(np.fft.rfft2(noise))
    frequencies = np.hypot(np.fft.fftfreq(images.SIDE)[:, None], np.fft.rfftfreq(images.SIDE)[None])
    slow, fast = ((frequencies > 0.02) & (frequencies < 0.03)), ((frequencies > 0.2) & (frequencies < 0.3))
    assert amplitudes[slow].mean() / amplitudes[fast].mean() == pytest.approx(10, rel=0.15)


def test_the_built_in_images_serve_one_purpose_each() -> None:
    fitted = images.drawn_images("fit", images.DRAWN_CALIBRATION)
    images.check_disjoint(fitted, images.drawn_images("judge", images.DRAWN_HELDOUT))
    with pytest.raises(OverlappingData, match="1 images of judge are in fit too"):
        images.check_disjoint(fitted, images.drawn_images("judge", range(1023, 1030)))


def test_the_same_image_under_another_name_is_found(tmp_path: Path) -> None:
    first, second = (images.read_images(save(tmp_path / name, f"{name}.png")) for name in ("one", "two"))
    with pytest.raises(OverlappingData, match=r"the first is .*two\.png"):
        images.check_disjoint(first, second)
    assert images.digest(first) == images.digest(second)


@pytest.mark.parametrize(
    ("made", "said"), [("nothing", "is no folder"), ("empty", "holds no image"), ("broken", "cannot be read")]
)
def test_what_is_no_image_is_said_in_one_line(tmp_path: Path, made: str, said: str) -> None:
    folder = tmp_path / "photos"
    if made != "nothing":
        folder.mkdir()
    if made == "broken":
        (folder / "a.png").write_bytes(b"not a picture")
    with pytest.raises(UnusableImages, match=said) as caught:
        images.pixel_values(images.read_images(folder), PROCESSOR, num_images=1)
    assert "\n" not in str(caught.value)
