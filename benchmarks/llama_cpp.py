"""Whether llama.cpp's own converter takes a cut, and what it makes of it.

    python benchmarks/llama_cpp.py CHECKOUT [--python PATH]

Cuts six layers out of SmolLM2-135M-Instruct, gives the result to the checkout's convert_hf_to_gguf.py and
reads what that wrote: as many blocks as layers were kept, their tensors numbered without a gap, and as many
numbers as the cut has. `--python` names the interpreter of an environment in which the converter runs.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from gguf import GGUFReader

from hf_prune.machine.progress import silent
from hf_prune.model.weights import read_index
from hf_prune.stages.cut.checkpoint import write_checkpoint
from hf_prune.stages.source.demo import demo_model
from hf_prune.stages.source.gguf import convert_gguf

KEPT = (*range(13), *range(19, 30))


def main() -> None:
    """Cut, convert, print what the GGUF file holds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("checkout", type=Path, help="of llama.cpp")
    parser.add_argument("--python", default=sys.executable)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        source, target, gguf_file = (Path(name) / each for each in ("model", "cut", "cut.gguf"))
        convert_gguf(*demo_model(), source)
        target.mkdir()
        write_checkpoint(source, target, kept=KEPT, variant="cut", replacements={}, progress=silent)
        converter = options.checkout / "convert_hf_to_gguf.py"
        command = [options.python, str(converter), str(target), "--outfile", str(gguf_file)]
        subprocess.run([*command, "--outtype", "bf16"], check=True)
        report(target, GGUFReader(gguf_file))


def report(cut: Path, converted: GGUFReader) -> None:
    """Print blocks, tensors and numbers of the file beside those of the cut."""
    config = json.loads((cut / "config.json").read_text())
    architecture = converted.fields["general.architecture"].contents()
    blocks = Counter(
        int(number[1]) for tensor in converted.tensors if (number := re.match(r"blk\.(\d+)\.", tensor.name))
    )
    whole = sorted(blocks) == list(range(len(KEPT))) and len(set(blocks.values())) == 1
    stored = read_index(cut)
    for label, value in (
        ("layers kept", len(KEPT)),
        ("num_hidden_layers", config["num_hidden_layers"]),
        ("block_count", converted.fields[f"{architecture}.block_count"].contents()),
        ("rope_theta", config.get("rope_theta")),
        ("rope.freq_base", converted.fields[f"{architecture}.rope.freq_base"].contents()),
        ("blk.0 to the last, alike", f"{whole} ({blocks[0]} tensors each)"),
        ("tensors in the cut", len(stored.tensors)),
        ("tensors in the GGUF file", len(converted.tensors)),
        ("numbers in the cut", stored.parameters),
        ("numbers in the GGUF file", sum(int(tensor.n_elements) for tensor in converted.tensors)),
    ):
        print(f"{label:<28}{value}")


if __name__ == "__main__":
    main()
