"""Which layers other tools would remove from a model, and what finding out costs them.

    python benchmarks/peers.py MODEL_FOLDER --text TEXT.jsonl.gz --depths 3 6 8 10
                               [--only soup optipfair pruneme] [--documents 64] [--threads 2]

Prints one JSON object a line for each peer. Every peer reads the first documents of the text, each cut to
512 tokens, on the CPU, in a process of its own; soup-cli and optipfair also have an environment of their own,
which uv makes. That process runs this same file (`--child`), the top of which therefore imports nothing but
the standard library, and reads its own peak memory, since what the system tells a parent of its child begins
at the parent's. A run on one document comes first, so that neither installing nor compiling bytecode counts.
On a machine that others use, give `--threads 1`: threads that wait for each other made seconds tenfold.
"""

import argparse
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

LENGTH, MOST_DOCUMENTS = 512, 256  # what soup-cli reads at most, without an option for either
ENVIRONMENT = {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": ""} | {
    "SOUP_NO_AUDIT_LOG": "1",  # which it keeps in the home folder
    "COLUMNS": "200",  # an error on one line
}


@dataclass(frozen=True, kw_only=True)
class Job:
    """What one process is asked."""

    model: str
    texts: str
    depths: list[int]


@dataclass(frozen=True)
class Peer:
    """A tool and how to run it."""

    name: str
    criterion: str
    find: Callable[[Job], dict[str, Any]]
    requirement: str | None = None  # what uv installs; None runs under this interpreter
    one_depth_a_run: bool = False


def peak_memory() -> int:
    """Of this process so far, in bytes (Linux)."""
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024


def tokenized(model: str | Path, texts: Iterable[str]) -> Iterator[Any]:
    """Tensors of one document after the other, as they are asked for, truncated, without padding."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    return (tokenizer(text, return_tensors="pt", truncation=True, max_length=LENGTH) for text in texts)


def load(job: Job) -> tuple[Any, Iterator[Any]]:
    """The model in the precision of its checkpoint, and the documents."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(job.model, dtype="auto").eval()
    texts = [json.loads(line)["text"] for line in Path(job.texts).read_text().splitlines()]
    return model, tokenized(job.model, texts)


def find_with_soup(job: Job) -> dict[str, Any]:
    """Run `soup shrink --plan-only`, with a clock around the call that measures."""
    from soup_cli.cli import app
    from soup_cli.commands import shrink

    compute, found = shrink.compute_layer_importance, {}

    def timed(model: Any, tokenizer: Any, prompts: Sequence[str], **settings: Any) -> Any:
        start = time.perf_counter()
        importances = compute(model, tokenizer, prompts, **settings)
        found["seconds_measuring"] = time.perf_counter() - start
        block = shrink.select_drop_block(importances)
        found["removed"] = {block.block_size: list(range(block.start, block.start + block.block_size))}
        return importances

    shrink.compute_layer_importance = timed
    options = ["--model", job.model, "--drop-layers", str(job.depths[0]), "--calib", job.texts]
    try:
        app(["shrink", *options, "--device", "cpu", "--plan-only"])
    except SystemExit as end:
        if end.code:
            raise
    return found


def find_with_optipfair(job: Job) -> dict[str, Any]:
    """Score each layer alone, then take the n lowest, as optipfair's own instructions do.

    Its `prune_model_depth(num_layers_to_remove=n)` would not look at scores: it removes the last n layers.
    Similarities are taken in the precision of the model, so that those of bfloat16 come in steps.
    """
    from optipfair.pruning.depth import analyze_layer_importance, validate_layer_removal_params

    model, documents = load(job)
    start = time.perf_counter()
    batches = [dict(tokens) for tokens in documents]
    importance = analyze_layer_importance(model, batches, show_progress=False)
    seconds, ranked = time.perf_counter() - start, sorted(importance, key=importance.get)
    for depth in job.depths:
        validate_layer_removal_params(model, layer_indices=ranked[:depth])
    return {"seconds_measuring": seconds, "removed": {n: sorted(ranked[:n]) for n in job.depths}}


def find_with_pruneme(job: Job) -> dict[str, Any]:
    """Do as arcee-ai/PruneMe does, written anew: its `layer_similarity.py` is a script, not a package.

    Its own quirks, kept: it drops the embeddings (`hidden_states[1:]`), so that a block that begins with
    layer 0 is never a candidate; and the last of `hidden_states`, which it takes for the output of the last
    layer, is after the final norm. Index l is the output of layer l, so the distance from l to l + n is that
    of removing layers l + 1 to l + n. It prints "Layer l + 1 to l + 1 + n", in its source "1-based": who
    believes that cuts one layer early. Put into mergekit's half-open 0-based `layer_range`, as its example
    does, the same numbers are right, and so they are reported here.

    Not kept: 4-bit weights, batches, distances in half precision, one block size a run.
    """
    import torch

    model, documents = load(job)
    num_layers = model.config.get_text_config().num_hidden_layers
    sums = {depth: torch.zeros(num_layers - depth) for depth in job.depths}
    start = time.perf_counter()
    for tokens in documents:
        with torch.no_grad():
            hidden_states = model(**tokens, output_hidden_states=True).hidden_states[1:]
        last = torch.stack([state[0, -1].float() for state in hidden_states])
        for depth, total in sums.items():
            cosines = torch.nn.functional.cosine_similarity(last[:-depth], last[depth:], dim=-1)
            total += torch.arccos(cosines.clamp(-1, 1)) / torch.pi
    seconds = time.perf_counter() - start
    first = {depth: int(total.argmin()) + 1 for depth, total in sums.items()}
    return {"seconds_measuring": seconds, "removed": {n: list(range(first[n], first[n] + n)) for n in first}}


PEERS = {
    "soup": Peer(
        "soup-cli 0.77.0",
        "angular distance over a block, all tokens, first and last layer protected",
        find_with_soup,
        requirement="soup-cli[train]==0.77.0",
        one_depth_a_run=True,
    ),
    "optipfair": Peer(
        "optipfair 0.4.2",
        "1 - cosine of input and output of each layer alone, all tokens",
        find_with_optipfair,
        requirement="optipfair==0.4.2",
    ),
    "pruneme": Peer(
        "PruneMe-like loop",
        "angular distance over a block, last token, embeddings dropped",
        find_with_pruneme,
    ),
}


def interpreter(peer: Peer) -> list[str]:
    """The command that starts Python in the environment of the peer.

    Isolated, for uv would else also show the peer what is installed beside the interpreter. No peer needs an
    older torch or transformers: all of them take the newest.
    """
    if peer.requirement is None:
        return [sys.executable]
    found = os.environ.get("UV") or shutil.which("uv")
    options = f"run --isolated --no-project --no-config --python 3.11 --with {peer.requirement} python"
    return [*([found] if found else [sys.executable, "-m", "uv"]), *options.split()]


def run(key: str, job: Job, folder: Path, settings: dict[str, str]) -> dict[str, Any]:
    """Start the process of a peer and join what it found with the seconds it took, start to end."""
    child = [str(Path(__file__).resolve()), "--child", key, json.dumps(asdict(job))]
    command, environment = [*interpreter(PEERS[key]), *child], os.environ | settings
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if done.returncode:
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        named = [line for line in lines if "rror" in line] or lines or [f"exit status {done.returncode}"]
        raise RuntimeError(named[-1])
    return {"seconds": seconds, **json.loads(done.stdout.splitlines()[-1])}


def ask(key: str, job: Job, folder: Path, threads: str) -> dict[str, Any]:
    """Install and warm a peer, run it, and join its runs where it needs several."""
    peer, settings = PEERS[key], ENVIRONMENT | {"PYTHONPYCACHEPREFIX": str(folder / "bytecode")}
    settings["OMP_NUM_THREADS"] = threads
    asked = [replace(job, depths=[depth]) for depth in job.depths] if peer.one_depth_a_run else [job]
    run(key, replace(asked[0], texts="one_text.jsonl"), folder, settings)
    runs = [run(key, each, folder, settings | {"UV_OFFLINE": "1"}) for each in asked]
    fastest = min(runs, key=lambda found: found["seconds"])
    removed = {depth: layers for found in runs for depth, layers in found["removed"].items()}
    note = "one for each depth, figures of the fastest" if peer.one_depth_a_run else "one for all depths"
    return {"criterion": peer.criterion, "runs": note, **fastest, "removed": removed}


def main() -> None:
    """Ask each peer in turn and print a line for each; or be the process of one peer."""
    if sys.argv[1:2] == ["--child"]:
        found = PEERS[sys.argv[2]].find(Job(**json.loads(sys.argv[3])))
        found["versions"] = {package: version(package) for package in ("torch", "transformers")}
        print(json.dumps({**found, "peak_memory_bytes": peak_memory()}))
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("--text", type=Path, required=True, help="jsonl.gz with a field `text`")
    parser.add_argument("--depths", type=int, nargs="+", default=[3, 6, 8, 10])
    parser.add_argument("--only", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--documents", type=int, default=64, help=f"at most {MOST_DOCUMENTS}")
    parser.add_argument("--threads", default=str(os.cpu_count()))
    options = parser.parse_args()
    with gzip.open(options.text, "rt", encoding="utf-8") as file:
        texts = (text for line in file if (text := json.loads(line)["text"]).strip())
        texts = list(islice(texts, min(options.documents, MOST_DOCUMENTS)))
    tokens = sum(each["input_ids"].numel() for each in tokenized(options.model, texts))
    with tempfile.TemporaryDirectory() as name:
        folder, lines = Path(name), [json.dumps({"text": text}) + "\n" for text in texts]
        (folder / "texts.jsonl").write_text("".join(lines))
        (folder / "one_text.jsonl").write_text(lines[0])
        job = Job(model=str(options.model.resolve()), texts="texts.jsonl", depths=options.depths)
        for key in options.only:
            try:
                found = ask(key, job, folder, options.threads)
                found |= {"documents": len(texts), "tokens": tokens}
            except RuntimeError as error:
                found = {"error": str(error)}
            print(json.dumps({"peer": PEERS[key].name, **found}), flush=True)


if __name__ == "__main__":
    main()
