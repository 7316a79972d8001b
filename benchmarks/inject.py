"""New knowledge put into a model: SLayer's new layers against LoRA with as many trained numbers.

    python benchmarks/inject.py MODEL_FOLDER --output FOLDER [--tokens 40960] [--only WAY ...]

The beginnings of two books (../shared/data/text/books.jsonl.gz), as much of each as makes the tokens asked
for, are learnt in windows of 512 tokens, one a step; of their last tenths some is held out. `grow` is this
tool's own, with its default learning rate unless another is in the name; LoRA trains every linear projection
of the model as it is, at the rank that comes nearest to the new layers' numbers. Prints the loss on the
held-out part of the books, and on 32 windows of C4 that tell what was forgotten, in nats per token, with the
standard error of the mean over windows. A run that has its line in FOLDER/results.jsonl is not made again.
"""

import gzip
import json
from pathlib import Path
from typing import Any

import torch
from contest import Bench, common_arguments, open_bench, print_row, pruned
from transformers import AutoTokenizer

from hf_prune.machine.progress import silent
from hf_prune.model.decoder import open_decoder
from hf_prune.stages.evaluate.perplexity import perplexity
from hf_prune.stages.texts import text as calibration
from hf_prune.stages.texts.windows import to_windows

LENGTH, HELDOUT_WINDOWS = 512, 32
CHARACTERS_A_TOKEN = 5  # more than there are: every token that is asked for is there
HELDOUT = 45_000  # characters of the last tenth of each book, in which the windows find room
ALWAYS = ["--drop-layers", "0", "--bridge", "none", "--no-distill", "--samples", "8", "--heal-batch", "1"]
WAYS = {
    "original": None,
    "grow": ["--grow", "auto"],
    "grow, 1e-3": ["--grow", "auto", "--lr", "1e-3"],
    "LoRA": ["--heal", "lora", "--rank", "RANK"],
    "LoRA, 3e-4": ["--heal", "lora", "--rank", "RANK", "--lr", "3e-4"],
}


def write_books(bench: Bench) -> tuple[Path, Path]:
    """What is learnt of the books, and what is held out."""
    with gzip.open(bench.data / "text" / "books.jsonl.gz", "rt", encoding="utf-8") as file:
        books = [json.loads(line)["text"] for line in file]
    paths = bench.output / "learnt.jsonl", bench.output / "heldout.jsonl"
    share = CHARACTERS_A_TOKEN * bench.tokens // len(books)
    parts = [
        (book[: min(share, len(book) * 9 // 10)], book[len(book) * 9 // 10 :][:HELDOUT]) for book in books
    ]
    for path, texts in zip(paths, zip(*parts, strict=True), strict=True):
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return paths


def rank_for(model: Path) -> int:
    """The rank at which LoRA on every projection trains about as many numbers as the new layers have."""
    config = json.loads((model / "config.json").read_text())
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    head = config.get("head_dim") or hidden // config["num_attention_heads"]
    wide, narrow = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    shapes = [(hidden, wide), (hidden, narrow), (hidden, narrow), (wide, hidden)]
    shapes += [(hidden, inner), (hidden, inner), (inner, hidden)]
    layer, each = sum(a * b for a, b in shapes) + 2 * hidden, sum(a + b for a, b in shapes)
    layers = config["num_hidden_layers"]
    return round(layers // 4 * layer / (layers * each))


def worth(folder: Path, heldout: Path) -> dict[str, Any]:
    """The losses of a model."""
    tokenizer, decoder = AutoTokenizer.from_pretrained(folder), open_decoder(folder, torch.device("cpu"))
    found = {}
    texts = {
        "books": calibration.read_text(heldout),
        "c4": calibration.built_in_text(calibration.BUILT_IN_HELDOUT),
    }
    for name, text in texts.items():
        windows = to_windows(text, tokenizer, num_sequences=HELDOUT_WINDOWS, length=LENGTH)
        measured = perplexity(decoder, windows, name, silent)
        found[name] = {"loss": measured.loss, "stderr": measured.loss_stderr}
    return found


def made(bench: Bench, name: str, learnt: Path, rank: str) -> dict[str, Any]:
    """Train in one way: where the model is, and how many numbers were trained."""
    options = WAYS[name]
    if options is None:
        return {"folder": str(bench.model), "trained": 0}
    training = ["--heal-data", str(learnt), "--heal-tokens", str(bench.tokens)]
    given = [rank if word == "RANK" else word for word in options]
    found = pruned(bench, name, [*ALWAYS, *given, *training])
    run = json.loads((bench.folder(name) / "run.json").read_text())
    return {**found, "trained": run["healing"]["trained_parameters"]}


def main() -> None:
    """Run what is missing and print the table."""
    parser = common_arguments(list(WAYS))
    parser.set_defaults(tokens=40_960)
    asked = parser.parse_args()
    bench = open_bench(parser, asked)
    learnt, heldout = write_books(bench)
    rank = str(rank_for(bench.model))
    for name in (name for name in asked.only if name not in bench.done()):
        line = {"method": name, **made(bench, name, learnt, rank)}
        with bench.results.open("a") as file:
            file.write(json.dumps({**line, "worth": worth(Path(line["folder"]), heldout)}) + "\n")
    print_row(["Way", "Trained", "Loss, books", "Loss, C4", "Seconds"])
    print_row(["---", "---:", "---:", "---:", "---:"])
    for name, line in bench.done().items():
        losses = [
            f"{line['worth'][text]['loss']:.3f} ± {line['worth'][text]['stderr']:.3f}"
            for text in ("books", "c4")
        ]
        print_row([name, f"{line['trained'] / 1e6:.1f}M", *losses, f"{line.get('seconds', 0):.0f}"])


if __name__ == "__main__":
    main()
