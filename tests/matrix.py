"""Every causal language model of the installed transformers, cut and proved: the table in docs/families.md.

`python -m tests.matrix` writes the table anew; `python -m tests.matrix llama gpt2` prints those lines.
"""

import logging
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers

from hf_prune.cut import write_checkpoint
from hf_prune.decoder import open_decoder
from hf_prune.errors import HfPruneError, ProofFailed
from hf_prune.progress import silent
from hf_prune.prove import check_streaming, expected_logits, prove
from tests.families import CAUSAL_TYPES, CannotBuild, build

TABLE = Path(__file__).parent.parent / "docs" / "families.md"
CPU = torch.device("cpu")


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
    return " ".join(str(error).split()).replace("|", "/")[:300]


def main(asked: list[str]) -> None:
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    for model_type in asked or CAUSAL_TYPES:
        with tempfile.TemporaryDirectory() as folder:
            try:
                print(outcome_of(model_type, Path(folder)).line, flush=True)
            except Exception as error:
                if "-v" in sys.argv:
                    import traceback

                    traceback.print_exc()
                print(f"| {model_type} | CRASH | {type(error).__name__} {one_cell(error)} |", flush=True)


if __name__ == "__main__":
    main([a for a in sys.argv[1:] if a != "-v"])
