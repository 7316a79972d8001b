"""A finished run: a table of before and after, and where the model is."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from hf_prune.cli.console.evaluation import rows_of, show_missing, variants_of
from hf_prune.cli.console.terminal import print_result, print_table, tell
from hf_prune.records import Speculation, Tournament
from hf_prune.records.blocks import ranges
from hf_prune.records.numbers import byte_size, count, rough_duration
from hf_prune.stages.run import Run

if TYPE_CHECKING:
    from hf_prune.commands.extract import Extracted
    from hf_prune.commands.prune import Outcome

SHOWN_TRIALS = 12


def show(outcome: "Outcome", *, as_json: bool) -> None:
    """Show the result: one JSON object, or a table of before and after and where the model is."""
    run, published = outcome.run, outcome.published
    if not as_json:
        if run.plan.tournament is not None:
            _show_tournament(run.plan.tournament)
        _show_variants(run)
        tell(f"card: {outcome.model / 'README.md'}")
    content = {
        "folder": str(outcome.folder),
        "model": str(outcome.model),
        "published": asdict(published) if published else None,
        "refused": outcome.refused,
        "run": asdict(run),
    }
    print_result(content, published.address if published else str(outcome.model), as_json=as_json)


def _show_variants(run: Run) -> None:
    tell(f"{run.name}: {_layers(run)}")
    variants = variants_of(run.evaluated)
    rows = [["parameters", *(count(run.anatomy_of(variant).parameters) for variant in variants)]]
    rows += [[row.name, *map(row.cell, variants)] for row in rows_of(run.evaluated, narrow=True)]
    print_table(None, ["", *variants], rows, left=1)
    if run.evaluated.depths:
        _show_depths(run)
    if run.healing.kept:
        tell(_healing(run))
    for speculation in run.evaluated.speculations.found:
        tell(_drafting(speculation))
    show_missing(run.evaluated)


def _layers(run: Run) -> str:
    """What became of the layers."""
    changes = []
    if run.plan.removed:
        changes.append(f"layers {ranges(run.plan.removed)} removed, {len(run.plan.kept)} kept")
    if run.growth is not None:
        changes.append(f"new layers {ranges(run.growth.layers)} of {run.result_anatomy.num_layers}")
    if run.evaluated.depths:
        depths = ", ".join(str(depth.layers) for depth in run.evaluated.depths)
        changes.append(f"its first {depths} layers are models of their own")
    return "; ".join(changes) or "all layers kept"


def _show_depths(run: Run) -> None:
    columns = ("layers", "parameters", "perplexity, original", "perplexity", "tokens/s", "peak memory")
    rows = []
    for depth in run.evaluated.depths:
        speed = depth.speed
        losses = (f"{text.perplexity:.2f}" for text in (depth.truncated, depth.perplexity))
        tokens_per_second = f"{speed.decode_tokens_per_second:.1f}" if speed else ""
        memory = byte_size(speed.peak_memory_bytes) if speed else ""
        rows.append((str(depth.layers), count(depth.parameters), *losses, tokens_per_second, memory))
    print_table("The first layers as a model of their own", columns, rows)


def _healing(run: Run) -> str:
    healing, plan = run.healing, run.healing.plan
    verb = f"healed by {plan.method}" if run.plan.removed else f"trained ({plan.method})"
    return (
        f"{verb} on {plan.num_tokens:,} tokens in {rough_duration(healing.seconds)}: "
        f"loss on text set aside {healing.loss_before:.3f} -> {healing.loss_after:.3f}"
    )


def _drafting(speculation: Speculation) -> str:
    draft = f"the first {speculation.depth} layers" if speculation.depth else speculation.draft
    return (
        f"{draft} as a draft: {speculation.accepted_tokens} of {speculation.proposed_tokens} proposed tokens "
        f"kept, {speculation.tokens_per_second_alone:.1f} -> {speculation.tokens_per_second:.1f} tokens/s"
    )


def _show_tournament(tournament: Tournament) -> None:
    title = f"Tournament on {tournament.text.num_tokens:,} tokens, {tournament.cost:.1f} passes"
    rows = []
    for trial in tournament.trials[:SHOWN_TRIALS]:
        names = ranges(trial.removed), ", ".join(trial.proposed_by)
        behind = f"{trial.behind:.3f} ± {trial.behind_stderr:.3f}"
        figures = f"{trial.num_tokens:,}", f"{trial.loss:.3f}", behind, f"{trial.divergence:.3f}"
        rows.append((*names, *figures))
    print_table(title, ("layers removed", "proposed by", "tokens", "loss", "behind", "KL"), rows, left=2)
    if len(tournament.trials) > SHOWN_TRIALS:
        tell(f"and {len(tournament.trials) - SHOWN_TRIALS} more in run.json")


def show_extracted(extracted: "Extracted", *, as_json: bool) -> None:
    """Show one depth of a model: one JSON object, or where it is."""
    folder = str(extracted.folder)
    if not as_json:
        tell(f"{count(extracted.checkpoint.parameters)} parameters in {folder}")
    print_result({**asdict(extracted), "folder": folder}, extracted.url or folder, as_json=as_json)
