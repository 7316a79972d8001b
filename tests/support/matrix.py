"""Every causal language model of the installed transformers, cut and proved: the table in docs/families.md.

`python -m tests.support.matrix` writes the table.
`python -m tests.support.matrix llama gpt2` prints those lines.
"""

import logging
import re
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers

from hf_prune.errors import HfPruneError, ProofFailed
from hf_prune.machine.progress import silent
from hf_prune.model.decoder import open_decoder
from hf_prune.model.proof import check_streaming, expected_logits, prove
from hf_prune.stages.cut.checkpoint import write_checkpoint
from tests.support.checkout import ROOT
from tests.support.families import CAUSAL_TYPES, CannotBuild, build

TABLE = ROOT / "docs" / "families.md"
CPU = torch.device("cpu")
INTRODUCTION = """# Which families can be cut

Nothing in hf-prune goes by a family's name. Where the layers are, which fields of `config.json` speak of
them, and which tensors belong to them is found by structure, and every cut is proved ([how](cutting.md)).
This table is what comes of it for every causal language model type of transformers {version}: a tiny
random model of each is built and saved, a block from the middle and three scattered layers are cut from
it, and both results are proved as in every run. `python -m tests.support.matrix` writes it; the tests marked
slow check it line by line.

Of {total} types: {told}.

- **exact**: both cuts load in transformers with every tensor used and none made up, compute what the original
  computes with those layers left out, and decode with their cache as without.
- **refused**: the tool stops with this reason, before anything is written or published. A family whose layers
  follow a pattern is refused for cuts that its configuration cannot describe; other cuts of it may well do.
- **cannot build**: transformers itself cannot build, save or load a model of this type here.
"""


@dataclass(frozen=True)
class Outcome:
    model_type: str
    verdict: str  # "exact", "refused" or "cannot build"
    reason: str = ""

    @property
    def line(self) -> str:
        return f"| {self.model_type} | {self.verdict} | {self.reason} |"


def cuts_of(num_layers: int) -> dict[str, tuple[int, ...]]:
    """The layers that stay when a block from the middle goes, and when scattered layers do."""
    third = num_layers // 3
    block = range(third, third + max(1, third))
    scattered = {1, num_layers // 2, num_layers - 2}
    return {
        "block": tuple(layer for layer in range(num_layers) if layer not in block),
        "scattered": tuple(layer for layer in range(num_layers) if layer not in scattered),
    }


def outcome_of(model_type: str, folder: Path) -> Outcome:
    """Build a tiny model, cut it in two ways, and prove each as the tool does."""
    source = folder / "source"
    source.mkdir()
    try:
        build(model_type, source)
    except CannotBuild as error:
        return Outcome(model_type, "cannot build", one_cell(error))
    try:
        decoder = open_decoder(source, CPU)
        cuts = cuts_of(decoder.num_layers)
        tokens = torch.randint(2, 300, (2, 24), generator=torch.Generator().manual_seed(0))
        check_streaming(decoder, tokens)
        for name, kept in cuts.items():
            target = folder / name
            target.mkdir()
            write_checkpoint(source, target, kept=kept, variant="cut", replacements={}, progress=silent)
            expected = expected_logits(decoder, tokens, kept, {})
            prove(target, "cut", tokens, expected, decoder)
    except HfPruneError as error:
        proved = "the proof fails: " if isinstance(error, ProofFailed) else ""
        return Outcome(model_type, "refused", proved + one_cell(error).replace(str(folder), "…"))
    return Outcome(model_type, "exact")


def one_cell(error: Exception) -> str:
    """The reason in one line, without measured figures: those differ from machine to machine."""
    said = re.sub(r" \(logits [^)]*\)", "", " ".join(str(error).split()))
    return said.replace("|", "/")


def page_version() -> str:
    """The version of transformers that docs/families.md is of."""
    found = re.search(r"model type of transformers\s+([\d.]+\d)", TABLE.read_text(encoding="utf-8"))
    assert found is not None
    return found[1]


def written_table() -> dict[str, str]:
    """The lines of docs/families.md by model type."""
    lines = TABLE.read_text(encoding="utf-8").splitlines()
    return {line.split("|")[1].strip(): line for line in lines if line.startswith("| ")}


def outcomes(model_types: Iterable[str]) -> Iterator[Outcome]:
    """What becomes of each model type."""
    for model_type in model_types:
        with tempfile.TemporaryDirectory() as folder:
            yield outcome_of(model_type, Path(folder))


def document(found: list[Outcome]) -> str:
    """The whole of docs/families.md."""
    counts = Counter(outcome.verdict for outcome in found)
    told = ", ".join(f"{counts[verdict]} {verdict}" for verdict in ("exact", "refused", "cannot build"))
    lines = [outcome.line for outcome in found]
    introduction = INTRODUCTION.format(version=transformers.__version__, total=len(found), told=told)
    return "\n".join([introduction, "| model type | outcome | why |", "|---|---|---|", *lines, ""])


def main(asked: list[str]) -> None:
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    if asked:
        for outcome in outcomes(asked):
            print(outcome.line, flush=True)
    else:
        TABLE.write_text(document(list(outcomes(CAUSAL_TYPES))), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
