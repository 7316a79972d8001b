"""The texts or images of a run: read by kind of model, and none for two purposes."""

import shutil
from pathlib import Path

import pytest

from hf_prune.errors import OverlappingData, RecipeError, UnusableImages
from hf_prune.recipe.recipe import Recipe
from hf_prune.records import DECODER, IMAGE_ENCODER, TEXT_ENCODER
from hf_prune.stages.texts import images
from hf_prune.stages.texts.images import Images
from hf_prune.stages.texts.material import Material, read_material
from tests.support.encoders import save_images


@pytest.mark.parametrize("kind", [DECODER, TEXT_ENCODER])
def test_only_a_decoder_is_trained_and_measured_on_another_domain(kind: str) -> None:
    material = read_material(Recipe(model="m", heal="lora"), kind)
    sources = (material.fitted, material.heldout, material.healing_text, material.elsewhere)
    built_in = ["c4_calibration", "c4_heldout", "c4_healing", "letters_heldout"]
    assert [text.name for text in sources if text] == (built_in if kind == DECODER else built_in[:2])
    assert len(set(material.digests)) == len(material.digests) == (4 if kind == DECODER else 2)


# Images


def names_of(found: Images) -> list[str]:
    return [path.name for path in found.paths]


def material_of(calibration: Path | None, eval_data: Path | None = None) -> Material:
    folders = {"calibration": calibration, "eval_data": eval_data}
    named = {name: str(folder) for name, folder in folders.items() if folder}
    return read_material(Recipe(model="acme/vit", **named), IMAGE_ENCODER)


def test_without_images_the_error_asks_for_a_folder() -> None:
    with pytest.raises(RecipeError, match="give `--calibration FOLDER` with a folder of your images"):
        material_of(None)


def test_every_fourth_image_is_set_aside_for_evaluation(tmp_path: Path) -> None:
    folder = save_images(tmp_path / "photos", range(6))
    material = material_of(folder)
    fitted, heldout = material.fitted, material.heldout
    assert isinstance(fitted, Images)
    assert isinstance(heldout, Images)
    assert (fitted.name, heldout.name) == ("photos", "photos (set aside)")
    assert names_of(heldout) == ["000.png", "004.png"]
    assert names_of(fitted) == ["001.png", "002.png", "003.png", "005.png"]
    assert images.recorded_heldout(tmp_path, heldout.name) == heldout
    assert len(images.recorded_heldout(tmp_path, "photos").paths) == 6


def test_the_same_image_under_another_name_is_found(tmp_path: Path) -> None:
    first = save_images(tmp_path / "one", range(2))
    second = save_images(tmp_path / "two", range(5, 6))
    shutil.copyfile(first / "001.png", second / "other.png")
    with pytest.raises(OverlappingData, match=r"1 images of two are in one too, the first is .*other\.png"):
        material_of(first, second)


def test_a_single_image_cannot_serve_both(tmp_path: Path) -> None:
    folder = save_images(tmp_path / "photos", range(1))
    shutil.copyfile(folder / "000.png", folder / "copy.png")
    with pytest.raises(UnusableImages, match="photos holds only one image"):
        material_of(folder)
