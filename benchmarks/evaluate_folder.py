"""What a model in a folder is worth: perplexity on two texts, accuracy on five multiple-choice sets.

    python benchmarks/evaluate_folder.py FOLDER [--data ../shared/data] [--limit 200]

Prints one JSON object. In the precision of the checkpoint, on the CPU, without a chat template.

Perplexity: the first 16 x 512 tokens of the built-in held-out C4 documents, joined by blank lines, and of the
validation part of WikiText-2, likewise by paragraphs and headings, in which punctuation and numbers are put
back to the words that they were parted from (`1 @,@ 000`, ` ,`); `<unk>` stays.

Accuracy: the first items of each set, zero-shot, prompts and options as in the LM Evaluation Harness. `plain`
takes the option of the highest log-likelihood (its `acc`), `normalised` divides that by the characters of the
option first (its `acc_norm`). Standard errors are over items; which items were right is there too, a string
of 0 and 1, so that two models can be compared item by item.
"""

import argparse
import gzip
import json
import math
import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from hf_prune.machine.progress import silent
from hf_prune.model.decoder import open_decoder
from hf_prune.stages.evaluate.perplexity import perplexity
from hf_prune.stages.texts import text as calibration
from hf_prune.stages.texts.windows import to_windows

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
WINDOWS, LENGTH = 16, 512
AT_ONCE = 8192  # positions in one forward pass
PARTED = [  # how WikiText-2 parts words, and what the article had
    (r" @([-,.])@ ", r"\1"),  # 1 @,@ 000
    (r" ([,.;:!?%)\]}]|n't\b|'(?:s|re|ve|d|m|ll)\b)", r"\1"),
    (r"([(\[{$£]) ", r"\1"),
    (r"(s) '(?= )", r"\1'"),  # the lobsters ' eyes
    (r"\" ([^\"]*?) \"", r'"\1"'),
]


@dataclass(frozen=True)
class Item:
    """A prompt, the options that may follow it, and which is right."""

    prompt: str
    options: list[str]
    right: int


def arc(row: dict[str, Any]) -> Item:
    """Of ARC."""
    right = row["choices"]["label"].index(row["answerKey"])
    return Item(f"Question: {row['question']}\nAnswer:", row["choices"]["text"], right)


def hellaswag(row: dict[str, Any]) -> Item:
    """Of HellaSwag, whose contexts come cleaned."""
    return Item(row["query"], row["choices"], row["label"])


def piqa(row: dict[str, Any]) -> Item:
    """Of PIQA."""
    return Item(f"Question: {row['goal']}\nAnswer:", [row["sol1"], row["sol2"]], row["label"])


def boolq(row: dict[str, Any]) -> Item:
    """Of BoolQ."""
    return Item(f"{row['passage']}\nQuestion: {row['question']}?\nAnswer:", ["no", "yes"], row["label"])


def openbookqa(row: dict[str, Any]) -> Item:
    """Of OpenBookQA."""
    right = row["choices"]["label"].index(row["answerKey"])
    return Item(row["question_stem"], row["choices"]["text"], right)


SETS: dict[str, Callable[[dict[str, Any]], Item]] = {
    "arc_easy": arc,
    "hellaswag": hellaswag,
    "piqa": piqa,
    "boolq": boolq,
    "openbookqa": openbookqa,
}


@dataclass(frozen=True)
class Accuracy:
    """Of one set, by one way to choose among the options."""

    accuracy: float
    stderr: float
    items: int
    right: str


def accuracy_of(right: list[bool]) -> Accuracy:
    """The share of items that are right."""
    share, items = sum(right) / len(right), len(right)
    stderr = math.sqrt(share * (1 - share) / max(items - 1, 1))
    return Accuracy(share, stderr, items, "".join(str(int(each)) for each in right))


def wikitext(path: Path) -> calibration.Text:
    """Paragraphs and headings of WikiText-2, their words joined again as far as rules can."""
    paragraphs = []
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in filter(str.strip, file):
            paragraph = line.strip()
            for pattern, whole in PARTED:
                paragraph = re.sub(pattern, whole, paragraph)
            paragraphs.append(paragraph)
    return calibration.Text(name="wikitext-2 validation", dataset=None, documents=tuple(paragraphs))


def perplexities(folder: Path, tokenizer: PreTrainedTokenizerBase, data: Path) -> dict[str, Any]:
    """On each text, with the standard error of the loss."""
    texts = {
        "c4_heldout": calibration.built_in_text(calibration.BUILT_IN_HELDOUT),
        "wikitext2": wikitext(data / "text" / "wikitext2_tokens_valid.txt.gz"),
    }
    decoder, found = open_decoder(folder, torch.device("cpu")), {}
    for name, text in texts.items():
        windows = to_windows(text, tokenizer, num_sequences=WINDOWS, length=LENGTH)
        measured = asdict(perplexity(decoder, windows, "", silent))
        found[name] = {key: measured[key] for key in ("perplexity", "loss", "loss_stderr", "num_predictions")}
    return found


def encoded(tokenizer: PreTrainedTokenizerBase, prompt: str, option: str) -> tuple[list[int], int]:
    """The tokens of a prompt and an option, and how many of them are the option's."""
    tokens = tokenizer(f"{prompt} {option}")["input_ids"]
    return tokens, len(tokens) - len(tokenizer(prompt)["input_ids"])


@torch.inference_mode()
def log_likelihoods(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, item: Item) -> list[float]:
    """Of each option after the prompt, in nats; options of one token share a forward pass."""
    options = [encoded(tokenizer, item.prompt, option) for option in item.options]
    inputs = list(dict.fromkeys(tuple(tokens[:-1]) for tokens, _ in options))
    longest, least = max(map(len, inputs)), min(len(tokens) - count for tokens, count in options)
    padded = torch.tensor([[*tokens, *[0] * (longest - len(tokens))] for tokens in inputs])
    kept = longest - least + 1  # positions that predict a token of an option
    parts = padded.split(max(1, AT_ONCE // longest))
    rows = torch.cat([model(part, use_cache=False, logits_to_keep=kept).logits for part in parts])
    found = []
    for tokens, count in options:
        first = len(tokens) - 1 - count - (longest - kept)
        logits = rows[inputs.index(tuple(tokens[:-1])), first : first + count].float()
        wanted = torch.tensor(tokens[-count:])
        found.append(-torch.nn.functional.cross_entropy(logits, wanted, reduction="sum").item())
    return found


def accuracies(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, data: Path, limit: int
) -> dict[str, Any]:
    """On the first items of each set, by both ways to choose."""
    found = {}
    for name, read in SETS.items():
        with gzip.open(data / "bench" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
            items = [read(json.loads(line)) for line in islice(file, limit)]
        plain, normalised = [], []
        for item in items:
            likely = log_likelihoods(model, tokenizer, item)
            by_length = [value / len(option) for value, option in zip(likely, item.options, strict=True)]
            plain.append(likely.index(max(likely)) == item.right)
            normalised.append(by_length.index(max(by_length)) == item.right)
        found[name] = {"plain": asdict(accuracy_of(plain)), "normalised": asdict(accuracy_of(normalised))}
    return found


def main() -> None:
    """Print what was found."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--limit", type=int, default=200, help="items of each set")
    options = parser.parse_args()
    started = time.perf_counter()
    tokenizer = AutoTokenizer.from_pretrained(options.folder)
    found = {"perplexity": perplexities(options.folder, tokenizer, options.data)}
    model = AutoModelForCausalLM.from_pretrained(options.folder, dtype="auto").eval()
    found["accuracy"] = accuracies(model, tokenizer, options.data, options.limit)
    found |= {"parameters": model.num_parameters(), "dtype": str(model.dtype)}
    print(json.dumps({**found, "seconds": time.perf_counter() - started}))


if __name__ == "__main__":
    main()
