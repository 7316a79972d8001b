"""Peak memory of the measuring pass beside the size of the model it measures.

    python benchmarks/memory.py                                   # 3 GB of weights
    python benchmarks/memory.py --layers 32 --hidden 4096 --limit 6GB   # the shape of a 7B model

Writes a random Llama of some gigabytes layer by layer, measures it in a process of its own, and prints the
peak resident memory of that process before and after, next to what it may take: the interpreter and its
libraries, the embeddings, two layers, and the activations. With --limit the kernel enforces a limit on that
process: a memory control group where one can be made (the page cache counts too), else its address space.
"""

import argparse
import json
import os
import re
import resource
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from hf_prune.recipe.parse import parse_quantity

SEQUENCES, LENGTH = 4, 512
CONTROL_GROUP = Path("/sys/fs/cgroup/memory/hf-prune-benchmark")


def write_random_llama(folder: Path, layers: int, hidden: int, layers_per_file: int = 1) -> None:
    """A bfloat16 checkpoint in files of some layers each, never more than one tensor of it in memory."""
    config = LlamaConfig(
        num_hidden_layers=layers,
        hidden_size=hidden,
        intermediate_size=hidden * 43 // 16,
        num_attention_heads=hidden // 128,
        num_key_value_heads=hidden // 128,
        vocab_size=32000,
    )
    config.architectures = ["LlamaForCausalLM"]
    config.save_pretrained(folder)
    with torch.device("meta"):
        shapes = {name: tuple(p.shape) for name, p in LlamaForCausalLM(config).named_parameters()}
    parts: dict[str, list[str]] = {}
    for name in shapes:
        number = re.search(r"layers\.(\d+)\.", name)
        file_number = (int(number[1]) if number else layers) // layers_per_file
        parts.setdefault(f"model-{file_number:05d}.safetensors", []).append(name)
    generator = torch.Generator().manual_seed(0)
    for file_name, names in parts.items():
        header, offset = {}, 0
        for name in names:
            end = offset + 2 * torch.Size(shapes[name]).numel()
            header[name] = {"dtype": "BF16", "shape": shapes[name], "data_offsets": [offset, end]}
            offset = end
        text = json.dumps(header).encode()
        with (folder / file_name).open("wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for name in names:
                weights = torch.randn(shapes[name], generator=generator, dtype=torch.bfloat16) * 0.02
                file.write(weights.view(torch.uint8).numpy().tobytes())
    weight_map = {name: file_name for file_name, names in parts.items() for name in names}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def peak_memory() -> int:
    """Of this process so far, in bytes (Linux)."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) * 1024


def limit_memory(limit: int) -> str:
    """Have the kernel hold this process to `limit` bytes, and say how."""
    try:
        CONTROL_GROUP.mkdir(exist_ok=True)
        (CONTROL_GROUP / "memory.limit_in_bytes").write_text(str(limit))
        (CONTROL_GROUP / "cgroup.procs").write_text(str(os.getpid()))
    except OSError:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        return "address space (RLIMIT_AS)"
    return "memory control group, page cache included"


def measure_here(folder: Path, limit: int | None) -> None:
    """Measure the model in `folder` and print this process's peak memory before and after, as JSON."""
    enforced = limit_memory(limit) if limit else "none"
    from hf_prune.machine.progress import silent
    from hf_prune.model.activations import ActivationMemory
    from hf_prune.model.anatomy import describe
    from hf_prune.model.decoder import open_decoder
    from hf_prune.stages.measure.similarity import measure
    from hf_prune.stages.texts.text import TextSource
    from hf_prune.stages.texts.windows import windows_of

    ids = torch.randint(32000, (SEQUENCES, LENGTH), generator=torch.Generator().manual_seed(0))
    decoder = open_decoder(folder, torch.device("cpu"))
    anatomy = describe(decoder.skeleton)
    state_bytes = 2 * anatomy.hidden_size
    # The states of one boundary stay in memory; what is remembered of the others goes to a file.
    decoder.memory = ActivationMemory(limit=ids.numel() * state_bytes, folder=folder)
    torch.nn.functional.linear(torch.zeros(8, 64), torch.zeros(64, 64))  # libraries that load on first use
    before, start = peak_memory(), time.perf_counter()
    measure(decoder, windows_of(TextSource(name="random", dataset=None), ids), silent)
    print(
        json.dumps(
            {
                "enforced": enforced,
                "before": before,
                "after": peak_memory(),
                "seconds": time.perf_counter() - start,
                "file": anatomy.size_bytes,
                "embeddings": 2 * anatomy.vocabulary_size * anatomy.hidden_size,
                "two layers": 4 * max(anatomy.parameters_per_layer),
                "activations": ids.numel() * state_bytes,
            }
        )
    )


def main() -> None:
    """Write the model, measure it in another process, print the comparison."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--layers", type=int, default=28)
    parser.add_argument("--hidden", type=int, default=2048)
    parser.add_argument("--limit", type=parse_quantity, help="that the kernel enforces: 6GB")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure_here(options.measure, options.limit)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_random_llama(folder, options.layers, options.hidden)
        command = [sys.executable, __file__, "--measure", str(folder)]
        command += ["--limit", str(options.limit)] if options.limit else []
        printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found = json.loads(printed.splitlines()[-1])
    above = found["after"] - found["before"]
    parts = ("embeddings", "two layers", "activations")
    allowed = sum(found[part] for part in parts)
    for label, value in (
        ("model on disk", found["file"]),
        ("interpreter and libraries", found["before"]),
        ("peak above them", above),
        ("allowed", allowed),
        *((f"  {part}", found[part]) for part in parts),
    ):
        print(f"{label:<28}{value / 1e6:>10,.0f} MB")
    print(f"{'peak above / allowed':<28}{above / allowed:>10.2f}")
    print(f"{'limit enforced on':<28} {found['enforced']}")
    print(f"{'tokens':<28}{SEQUENCES * LENGTH:>10,} in {found['seconds']:.0f} s")


if __name__ == "__main__":
    main()
