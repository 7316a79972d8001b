"""One depth of a model as a model of its own, on disk and on the Hub."""

from collections.abc import Callable
from pathlib import Path

import pytest

from hf_prune.commands.extract import extract
from hf_prune.errors import ModelNotFound, OutputOccupied, PublishRefused, RecipeError
from hf_prune.machine.progress import Reporter
from hf_prune.stages.source.find import find
from tests.loopback import LoopbackHub
from tests.support.tool import bytes_of


def test_a_depth_that_is_taken_out_goes_to_its_branch_the_same_way(
    home_hub: LoopbackHub, tiny_models: Callable[..., Path], tmp_path: Path
) -> None:
    found = find(str(tiny_models("llama")), None, None)

    def taken_out(name: str, push: str) -> str | None:
        return extract(found, 2, tmp_path / name, push=push, reporter=Reporter()).url

    with pytest.raises(ModelNotFound, match="there is no model tester/whole"):
        taken_out("nowhere", "tester/whole")
    home_hub.add_repository("tester/whole", {"model.safetensors": b"theirs", "notes.txt": b"theirs"})
    assert taken_out("first", "tester/whole") == f"{home_hub.url}/tester/whole/tree/depth-2"
    files = home_hub.files("tester/whole", "depth-2")
    del files[".gitattributes"]
    assert files == bytes_of(tmp_path / "first")
    with pytest.raises(PublishRefused, match="was not made by hf-prune"):
        taken_out("second", "tester/whole")
    assert home_hub.files("tester/whole")["notes.txt"] == b"theirs"


@pytest.mark.parametrize("depth", [0, 6])
def test_a_depth_that_the_model_does_not_have_is_refused(
    tiny_models: Callable[..., Path], tmp_path: Path, depth: int
) -> None:
    found = find(str(tiny_models("llama")), None, None)
    with pytest.raises(RecipeError, match=f"--layers {depth}: .* has 6 layers; give 1 to 5"):
        extract(found, depth, tmp_path / "part", push=None, reporter=Reporter())


def test_a_folder_with_files_is_not_overwritten(tiny_models: Callable[..., Path], tmp_path: Path) -> None:
    found = find(str(tiny_models("llama")), None, None)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputOccupied, match="is not empty: choose another --output"):
        extract(found, 2, tmp_path, push=None, reporter=Reporter())


def test_a_model_that_was_not_sorted_is_extracted_with_a_warning(
    tiny_models: Callable[..., Path], tmp_path: Path
) -> None:
    found = find(str(tiny_models("llama")), None, None)
    messages: list[str] = []
    extracted = extract(found, 2, tmp_path / "part", push=None, reporter=Reporter(tell=messages.append))
    assert any("was not trained to be used at 2 layers" in message for message in messages)
    assert extracted.url is None
    assert (extracted.folder / "config.json").is_file()
    assert not (extracted.folder / "README.md").exists()
