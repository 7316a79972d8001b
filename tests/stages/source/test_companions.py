"""Files beside the weights: what a user of the model needs goes along byte for byte, the rest stays."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hf_prune.machine.progress import silent
from hf_prune.stages.cut.checkpoint import write_checkpoint
from hf_prune.stages.source.companions import companion_files
from hf_prune.stages.source.find import fetch_anatomy, fetch_weights, find
from tests.loopback import LoopbackHub
from tests.support.tool import bytes_of

WANTED = (
    *("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "tokenizer.model.v3", "tekken.json"),
    *("special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt", "bpe.codes"),
    *("sentencepiece.bpe.model", "spiece.model", "source.spm", "target.spm", "qwen.tiktoken"),
    *("chat_template.json", "chat_template.jinja", "tool_use.jinja", "generation_config.json"),
    *("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json"),
    *("image_processor_config.json", "audio_config.json"),
    *("LICENSE", "License.md", "license.txt", "LICENCE", "COPYING", "NOTICE", "Notice.txt"),
    *("USE_POLICY.md", "use_policy.txt", "LICENSE-MODEL", "Prohibited_Use_Policy.md"),
)
UNWANTED = (
    *("README.md", "readme.txt", ".gitattributes", "hf_prune.json", "example.png", "train.log"),
    *("pytorch_model.bin", "pytorch_model.bin.index.json", "consolidated.safetensors", "consolidated.00.pth"),
    *("optimizer.pt", "scheduler.pt", "scaler.pt", "rng_state.pth", "training_args.bin"),
    *("trainer_state.json", "all_results.json", "events.out.tfevents.1"),
    *("model.onnx", "model.onnx_data", "tokenizer.onnx", "audio_encoder.onnx", "model-q4.gguf"),
    *("tf_model.h5", "flax_model.msgpack", "rust_model.ot", "model.tflite", "audio_sample.wav"),
    *("modeling_mine.py", "tokenizer.py", "image_processor_mine.py", "vocab.bin", "license.pt"),
)


@pytest.fixture
def full(tiny_models: Callable[..., Path], tmp_path: Path) -> Path:
    """A model with every kind of file beside its weights, each with bytes that no JSON or text has."""
    folder = Path(shutil.copytree(tiny_models("llama"), tmp_path / "full"))
    for name in (*WANTED, *UNWANTED):
        if not (folder / name).exists():
            (folder / name).write_bytes(b"\xff\r\n" + name.encode())
    (folder / "README.md").write_bytes(b"# Tiny\n")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "tokenizer.json").write_bytes(b"{}")
    return folder


def test_a_cut_takes_along_what_is_needed_byte_for_byte(full: Path, tmp_path: Path) -> None:
    target = tmp_path / "cut"
    target.mkdir()
    write_checkpoint(full, target, kept=(0, 1, 4, 5), variant="cut", replacements={}, progress=silent)
    assert {path.name for path in target.iterdir()} == {"config.json", "model.safetensors", *WANTED}
    for name in WANTED:
        assert (target / name).read_bytes() == (full / name).read_bytes()


def test_the_same_files_are_fetched_from_the_hub(home_hub: LoopbackHub, full: Path, tmp_path: Path) -> None:
    home_hub.add_repository("acme/full", bytes_of(full))
    found = find("acme/full", None, None)
    fetch_anatomy(found, exact=False)
    folder = Path(fetch_weights(found, tmp_path / "work").folder)
    fetched = {path.name for path in folder.iterdir()}
    assert fetched == {"README.md", "config.json", "model.safetensors", *WANTED}
    assert [path.name for path in companion_files(folder)] == sorted(WANTED)
