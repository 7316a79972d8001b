"""A finished run: a table of before and after, and where the model is."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import click
from rich.table import Table

from hf_prune.cli.console.evaluation import by_figure, with_error
from hf_prune.cli.console.terminal import about, print_table, tell
from hf_prune.records import Published, Speculation, Tournament
from hf_prune.records.blocks import ranges
from hf_prune.stages.run import Run

if TYPE_CHECKING:
    from pathlib import Path

    from hf_prune.commands.extract import Extracted
    from hf_prune.commands.prune import Outcome

SHOWN_TRIALS = 12


def show(outcome: "Outcome", *, as_json: bool) -> None:
    """The result: one JSON object, or where the model is with a table of before and after."""
    if as_json:
        places = {"folder": str(outcome.folder), "model": str(outcome.model)}
        published = asdict(outcome.published) if outcome.published else None
        told = {**places, "published": published, "refused": outcome.refused, "run": asdict(outcome.run)}
        click.echo(json.dumps(told, sort_keys=True))
        return
    if outcome.run.plan.tournament is not None:
        _show_tournament(outcome.run.plan.tournament)
    _show_table(outcome.run)
    tell(f"card: {outcome.model / 'README.md'}")
    click.echo(outcome.published.address if outcome.published else str(outcome.model))


def _show_table(run: Run) -> None:
    tell(f"{run.name}: {_what_became(run)}")
    table = Table()
    table.add_column("")
    variants = [p.variant for p in run.evaluated.perplexities] or [
        "dense",
        *(a.variant for a in run.evaluated.agreements),
    ]
    for variant in variants:
        table.add_column(variant, justify="right")
    rows = {
        "perplexity": {p.variant: f"{p.perplexity:.2f}" for p in run.evaluated.perplexities},
        "  in another domain": {
            p.variant: f"{p.perplexity:.2f}" for p in run.evaluated.perplexities_elsewhere
        },
        "cosine to dense": {a.variant: f"{a.cosine:.4f}" for a in run.evaluated.agreements},
        "accuracy": {c.variant: f"{100 * c.accuracy:.1f} %" for c in run.evaluated.choices},
        "stability": {
            c.variant: f"{100 * c.stability:.1f} %" for c in run.evaluated.choices if c.stability is not None
        },
        **{
            name: {s.variant: with_error(".4f", s.value, s.stderr) for s in scores}
            for name, scores in by_figure(run.evaluated.scores.found).items()
        },
        "repetition": {w.variant: f"{100 * w.repetition:.1f} %" for w in run.evaluated.writings.found},
        "parameters": {v: f"{run.anatomy_of(v).parameters / 1e6:,.1f} M" for v in variants},
        "first token": {
            s.variant: f"{1000 * s.first_token_seconds:.0f} ms" for s in run.evaluated.speeds.found
        },
        "tokens/s": {s.variant: f"{s.decode_tokens_per_second:.1f}" for s in run.evaluated.speeds.found},
        "  in a batch": {
            s.variant: f"{s.batch_tokens_per_second:.1f}"
            for s in run.evaluated.speeds.found
            if s.batch_tokens_per_second
        },
        "peak memory": {
            s.variant: f"{s.peak_memory_bytes / 1e6:,.0f} MB" for s in run.evaluated.speeds.found
        },
    }
    for name, values in rows.items():
        if values:
            table.add_row(name, *(values.get(variant, "") for variant in variants))
    print_table(table)
    if run.evaluated.depths:
        _show_depths(run)
    if run.healing.kept:
        tell(_healed(run))
    for found in run.evaluated.speculations.found:
        tell(_drafted(found))
    for what, reason in _missing(run):
        tell(f"{what}: {reason}")


def _missing(run: Run) -> Iterator[tuple[str, str]]:
    """What was to be had and is not, and why."""
    reasons = {
        "speed was not measured": run.evaluated.speeds.reason,
        "not all tasks were measured": run.evaluated.scores.reason,
        "writing was not measured": run.evaluated.writings.reason,
        "as a draft it was not measured": run.evaluated.speculations.reason,
    }
    yield from ((what, reason) for what, reason in reasons.items() if reason)


def _what_became(run: Run) -> str:
    """Of the layers."""
    told = []
    if run.plan.removed:
        told.append(f"layers {ranges(run.plan.removed)} removed, {len(run.plan.kept)} kept")
    if run.growth is not None:
        told.append(f"new layers {ranges(run.growth.layers)} of {run.result_anatomy.num_layers}")
    if run.evaluated.depths:
        depths = ", ".join(str(depth.layers) for depth in run.evaluated.depths)
        told.append(f"its first {depths} layers are models of their own")
    return "; ".join(told) or "all layers kept"


def _show_depths(run: Run) -> None:
    table = Table(title="The first layers as a model of their own")
    for column in ("layers", "parameters", "perplexity, original", "perplexity", "tokens/s", "peak memory"):
        table.add_column(column, justify="right")
    for depth in run.evaluated.depths:
        speed = depth.speed
        table.add_row(
            str(depth.layers),
            f"{depth.parameters / 1e6:,.1f} M",
            f"{depth.truncated.perplexity:.2f}",
            f"{depth.perplexity.perplexity:.2f}",
            f"{speed.decode_tokens_per_second:.1f}" if speed else "",
            f"{speed.peak_memory_bytes / 1e6:,.0f} MB" if speed else "",
        )
    print_table(table)


def _healed(run: Run) -> str:
    healing, plan = run.healing, run.healing.plan
    done = f"healed by {plan.method}" if run.plan.removed else f"trained ({plan.method})"
    return (
        f"{done} on {plan.num_tokens:,} tokens in {about(healing.seconds)}: "
        f"loss on text set aside {healing.loss_before:.3f} -> {healing.loss_after:.3f}"
    )


def _drafted(found: Speculation) -> str:
    who = f"the first {found.depth} layers" if found.depth else found.draft
    return (
        f"{who} as a draft: {found.accepted_tokens} of {found.proposed_tokens} proposed tokens kept, "
        f"{found.tokens_per_second_alone:.1f} -> {found.tokens_per_second:.1f} tokens/s"
    )


def _show_tournament(held: Tournament) -> None:
    table = Table(title=f"Tournament on {held.text.num_tokens:,} tokens, {held.cost:.1f} passes")
    for column in ("layers removed", "proposed by"):
        table.add_column(column)
    for column in ("tokens", "loss", "behind", "KL"):
        table.add_column(column, justify="right")
    for trial in held.trials[:SHOWN_TRIALS]:
        table.add_row(
            ranges(trial.removed),
            ", ".join(trial.proposed_by),
            f"{trial.num_tokens:,}",
            f"{trial.loss:.3f}",
            f"{trial.behind:.3f} ± {trial.behind_stderr:.3f}",
            f"{trial.divergence:.3f}",
        )
    print_table(table)
    if len(held.trials) > SHOWN_TRIALS:
        tell(f"and {len(held.trials) - SHOWN_TRIALS} more in run.json")


def show_extracted(extracted: "Extracted", *, as_json: bool) -> None:
    """One depth of a model: one JSON object, or where it is."""
    if as_json:
        click.echo(json.dumps({**asdict(extracted), "folder": str(extracted.folder)}, sort_keys=True))
        return
    tell(f"{extracted.checkpoint.parameters / 1e6:,.1f} M parameters in {extracted.folder}")
    click.echo(extracted.url or str(extracted.folder))


def show_card(card: "Path", *, as_json: bool) -> None:
    """A card that was written anew: where it is."""
    click.echo(json.dumps({"card": str(card)}) if as_json else str(card))


def show_published(published: Published, *, as_json: bool) -> None:
    """Where a finished run went: one JSON object, or the address."""
    click.echo(json.dumps(asdict(published), sort_keys=True) if as_json else published.address)
