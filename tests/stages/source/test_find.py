"""Finding a local model: its form, its name, and what its card says of it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from hf_prune.errors import ModelNotFound, NoSafetensors
from hf_prune.stages.source.find import announce, download_size, fetch_weights, find
from hf_prune.stages.source.licence import TERMS
from tests.support.plain import edit_json

CARD = "---\nlicense: gemma\nlanguage: en\nbase_model: acme/base\n---\n"


def files(folder: Path, *names: str) -> str:
    folder.mkdir()
    for name in names:
        (folder / name).write_bytes(b"{}")
    return str(folder)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("consolidated.00.pth", "consolidated.01.pth", "params.json"), "--num_shards 2"),
        (("adapter_config.json",), "is an adapter"),
        (("tiny.gguf", "pytorch_model.bin"), "add --gguf-file tiny.gguf"),
        (("config.json", "pytorch_model.bin"), "add --allow-pickle"),
        (("config.json", "weights.pt"), "--allow-pickle reads pytorch_model.bin"),
        (("config.json",), "holds no model"),
    ],
)
def test_weights_in_another_form_are_refused_with_the_way_out(
    tmp_path: Path, names: tuple[str, ...], message: str
) -> None:
    with pytest.raises(NoSafetensors, match=message):
        find(files(tmp_path / "model", *names), None, None)


def test_a_path_without_a_folder_is_not_looked_for_on_the_hub(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="there is no folder"):
        find(str(tmp_path / "missing"), None, None)


def test_the_card_of_a_local_model_gives_its_licence_and_base(
    tiny_models: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    folder.symlink_to(tiny_models("llama"))
    model = find(str(folder), None, None)
    assert (announce(model), download_size(model)) == (f"{folder}: local folder", 0)
    assert (model.card.base_model, model.terms.known) == (None, False)
    own = tmp_path / "own"
    own.mkdir()
    for path in folder.iterdir():
        (own / path.name).write_bytes(path.read_bytes())
    (own / "README.md").write_text(CARD)
    model = find(str(own), None, None)
    assert (model.name, model.card.base_model, model.terms) == ("own", "acme/base", TERMS["gemma"])
    source = fetch_weights(model, tmp_path / "work")
    assert (source.folder, source.repo_id, source.license) == (str(own), "acme/base", "gemma")
    assert source.languages == ("en",)


def test_the_identity_of_a_local_model_changes_with_its_files_and_with_its_code(tmp_path: Path) -> None:
    folder = files(tmp_path / "model", "config.json", "model.safetensors")
    first = find(folder, None, None).identity
    assert find(folder, None, None).identity == first
    assert find(folder, None, None, trust_remote_code=True).identity == f"{first} with its code"
    edit_json(Path(folder) / "config.json", num_hidden_layers=2)
    assert find(folder, None, None).identity != first
