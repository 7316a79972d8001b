"""Every causal language model of the installed transformers, cut and proved: the lists in docs/families.md.

`python -m tests.support.matrix` writes the page.
`python -m tests.support.matrix llama gpt2` prints those outcomes.
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
VERDICTS = ("exact", "refused", "cannot build")
PAGE = """# Which families can be cut

hf-prune has no list of families. It finds your model's layers, their tensors and their fields in
`config.json` by structure, and [proves](cutting.md#the-proof) every cut.

Look for your `model_type` below. This page has every causal language model type of transformers {version}.
[Encoders](encoders.md) have a page of their own.

A test builds a tiny random model of each type. It makes two cuts: a block from the middle, and three
scattered layers. It proves both, as hf-prune proves yours.

Of {total} types, {exact} are exact, {refused} are refused and {unbuilt} cannot be built. If you change
hf-prune or transformers, run `python -m tests.support.matrix` to write this page again. The tests marked slow
check every type.

## Exact

Both cuts load in transformers, with every tensor used and none made up. They compute the same as the original
without those layers. They decode the same with and without their cache.

| | model types |
|---|---|
{rows[exact]}

## Refused

hf-prune stops with this message before it writes or publishes anything. In some families the layers follow a
pattern. For these, hf-prune refuses only cuts that `config.json` cannot describe. You may find
others that work.

`…` stands for the name of the model.

| model types | message |
|---|---|
{rows[refused]}

## Cannot build

The test cannot try these types, because transformers itself cannot build, save or load them here.

| model types | why |
|---|---|
{rows[cannot build]}
"""


@dataclass(frozen=True)
class Outcome:
    model_type: str
    verdict: str  # one of VERDICTS
    reason: str = ""


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
        return Outcome(model_type, "cannot build", one_cell(error).removeprefix(f"{model_type}: "))
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
        return Outcome(model_type, "refused", proved + without_names(one_cell(error), model_type, folder))
    return Outcome(model_type, "exact")


def one_cell(error: Exception) -> str:
    """The reason in one line, without measured figures: those differ from machine to machine."""
    said = re.sub(r" \(logits [^)]*\)", "", " ".join(str(error).split()))
    return said.replace("|", "/")


def without_names(reason: str, model_type: str, folder: Path) -> str:
    """A reason with `…` for the folder, type and class of the model, so that families can share it."""
    named = rf"\b({re.escape(model_type)}(_text)?|\w+(ForCausalLM|LMHeadModel|ModelWithLMHead))\b"
    return re.sub(named, "…", reason.replace(str(folder), "…"))


def page_version() -> str:
    """The version of transformers that docs/families.md is of."""
    found = re.search(r"model type of transformers\s+([\d.]+\d)", TABLE.read_text(encoding="utf-8"))
    assert found is not None
    return found[1]


def written_table() -> dict[str, Outcome]:
    """The outcomes in docs/families.md by model type."""
    _, *sections = TABLE.read_text(encoding="utf-8").split("\n## ")
    found: dict[str, Outcome] = {}
    for section in sections:
        verdict = section.splitlines()[0].lower()
        for first, second in re.findall(r"^\| (.*?) \| (.*) \|$", section, re.MULTILINE):
            names, reason = (second, "") if verdict == "exact" else (first, second)
            found |= {name: Outcome(name, verdict, reason) for name in re.findall(r"`([^`]+)`", names)}
    return found


def outcomes(model_types: Iterable[str]) -> Iterator[Outcome]:
    """What becomes of each model type."""
    for model_type in model_types:
        with tempfile.TemporaryDirectory() as folder:
            yield outcome_of(model_type, Path(folder))


def document(found: list[Outcome]) -> str:
    """The whole of docs/families.md."""
    grouped: dict[str, dict[str, list[str]]] = {verdict: {} for verdict in VERDICTS}
    for one in found:
        group = one.model_type[0] if one.verdict == "exact" else one.reason
        grouped[one.verdict].setdefault(group, []).append(f"`{one.model_type}`")
    rows = {
        verdict: "\n".join(row(verdict, group, ", ".join(names)) for group, names in groups.items())
        for verdict, groups in grouped.items()
    }
    counts = Counter(one.verdict for one in found)
    return PAGE.format(
        version=transformers.__version__,
        total=len(found),
        exact=counts["exact"],
        refused=counts["refused"],
        unbuilt=counts["cannot build"],
        rows=rows,
    )


def row(verdict: str, group: str, names: str) -> str:
    """Of a table: exact types by their first letter, the others with their reason."""
    return f"| {group} | {names} |" if verdict == "exact" else f"| {names} | {group} |"


def main(asked: list[str]) -> None:
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    if asked:
        for outcome in outcomes(asked):
            print(f"{outcome.model_type}: {outcome.verdict} {outcome.reason}".rstrip(), flush=True)
    else:
        TABLE.write_text(document(list(outcomes(CAUSAL_TYPES))), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
