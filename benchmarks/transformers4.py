"""Whether transformers 4.57 reads a cut as transformers 5 does.

    uv venv /tmp/tf4 && uv pip install --no-config --python /tmp/tf4/bin/python "transformers==4.57.*" torch
    python benchmarks/transformers4.py --python /tmp/tf4/bin/python

Tiny random models with the settings of real ones, saved by transformers 4.57 and with config.json in the
words of the Hub, lose layers to `write_checkpoint`; then both versions compute the logits of the same folders
in float32 and decode twelve tokens greedily with a cache. The last row is a model that transformers 5 saved.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers import __version__ as transformers_version

SIZES = {
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 12,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
}
LLAMA3_SCALING = {
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,  # of 8192, so that tokens as few as these are scaled
    "rope_type": "llama3",
}
LLAMA = {"rope_theta": 500000.0, "tie_word_embeddings": False}
SETTINGS = {
    "Llama 3": ("llama", LLAMA),
    "Llama 3.1, scaled": ("llama", {**LLAMA, "rope_scaling": LLAMA3_SCALING}),
    "Qwen3": ("qwen3", {"rope_theta": 1000000, "tie_word_embeddings": True, "max_window_layers": 12}),
    "Gemma 3, layer_types": ("gemma3_text", {"sliding_window": 16, "query_pre_attn_scalar": 16}),
    "Gemma 3, pattern alone": ("gemma3_text", {"sliding_window": 16, "query_pre_attn_scalar": 16}),
    "Mixtral": ("mixtral", {"rope_theta": 1000000.0, "num_local_experts": 4, "num_experts_per_tok": 2}),
}
OF_VERSION_5 = "Llama 3, saved by 5"
ROPE_OF_VERSION_5 = {"rope_theta": 500000.0, "rope_type": "default"}
KEPT = (0, 1, 2, 3, 6, 7, 8, 10, 11)  # two blocks of unlike length, which break Gemma's pattern
CONTEXT, DECODED = 48, 12


def folder_of(folder: Path, name: str) -> Path:
    """Where a model goes: transformers wants the name to be one that Python takes."""
    return folder / re.sub(r"\W+", "_", name)


def make_model(folder: Path, family: str, settings: dict[str, object]) -> None:
    """Save a random model with the transformers that runs; weights wide enough for each layer to matter."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **{**SIZES, **settings}))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.15)
    model.save_pretrained(folder)


def make_as_on_the_hub(folder: Path, name: str) -> None:
    """Save a model and put its config.json in the words that the Hub's files have."""
    make_model(folder, *SETTINGS[name])
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["torch_dtype"] = config.pop("dtype", "float32")
    if name in ("Qwen3", "Gemma 3, pattern alone"):  # written before transformers had the field
        del config["layer_types"]
    if name == "Gemma 3, pattern alone":
        config["sliding_window_pattern"] = config.pop("_sliding_window_pattern")
    assert "rope_parameters" not in config
    path.write_text(json.dumps(config, indent=2) + "\n")


@torch.no_grad()
def compute(folders: list[Path], target: Path) -> None:
    """Save the logits and the greedily decoded tokens of the models in `folders`."""
    ids = torch.randint(2, SIZES["vocab_size"], (2, CONTEXT), generator=torch.Generator().manual_seed(0))
    found = {}
    for folder in folders:
        model = AutoModelForCausalLM.from_pretrained(folder).float().eval()
        model.generation_config.eos_token_id = None
        tokens = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=DECODED, do_sample=False, use_cache=True
        )
        found[folder.name] = (model(input_ids=ids, use_cache=False).logits, tokens[:, CONTEXT:])
    torch.save(found, target)


def run(python: str, *arguments: str) -> None:
    """Run this file under another interpreter."""
    subprocess.run([python, __file__, *arguments], check=True)


def main() -> None:
    """Make the models, cut them, compute them in both versions, print a row for each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--python", help="of an environment with transformers 4.57")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--compute", nargs="+", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        assert transformers_version.startswith("4.57."), transformers_version
        for name in SETTINGS:
            make_as_on_the_hub(folder_of(options.make, name), name)
    elif options.compute:
        compute(options.compute[1:], options.compute[0])
    else:
        with tempfile.TemporaryDirectory() as folder:
            compare(Path(folder), options.python)


def compare(folder: Path, python: str) -> None:
    """Print how far the two versions are apart on each model before and after the cut."""
    from hf_prune.machine.progress import silent
    from hf_prune.stages.cut.checkpoint import write_checkpoint

    run(python, "--make", str(folder))
    make_model(folder_of(folder, OF_VERSION_5), "llama", {"rope_parameters": ROPE_OF_VERSION_5})
    names = (*SETTINGS, OF_VERSION_5)
    pairs = [(folder_of(folder, name), folder_of(folder, f"{name} cut")) for name in names]
    for source, target in pairs:
        target.mkdir()
        write_checkpoint(source, target, kept=KEPT, variant="cut", replacements={}, progress=silent)
    found = {}
    for version, interpreter in (("5", sys.executable), ("4", python)):
        run(interpreter, "--compute", str(folder / version), *(str(each) for pair in pairs for each in pair))
        found[version] = torch.load(folder / version)
    print(f"{len(KEPT)} of {SIZES['num_hidden_layers']} layers kept\n")
    print("| | logits, up to | original: apart | tokens | cut: apart | tokens |")
    print("|---|---:|---:|---|---:|---|")
    for name, pair in zip(names, pairs, strict=True):
        cells = [f"{found['5'][pair[1].name][0].abs().max():.1f}"]
        for each in pair:
            (old, old_tokens), (new, new_tokens) = found["4"][each.name], found["5"][each.name]
            cells.append(f"{(old - new).abs().max():.1g}")
            cells.append("the same" if torch.equal(old_tokens, new_tokens) else "others")
        print(f"| {name} | {' | '.join(cells)} |")
    print("\nWhat the cut changed in config.json:")
    for name, (source, target) in zip(names, pairs, strict=True):
        before, after = (json.loads((each / "config.json").read_text()) for each in (source, target))
        print(f"{name}: {sorted(key for key in {**before, **after} if before.get(key) != after.get(key))}")


if __name__ == "__main__":
    main()
