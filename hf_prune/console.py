"""The terminal: the result on stdout, everything else on stderr, bars only where someone watches."""

import json
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hf_prune.choose.blocks import ranges
from hf_prune.disk import gigabytes
from hf_prune.progress import Item, Reporter, silent
from hf_prune.records import Estimate, Published, Speculation, TaskScore, Tournament
from hf_prune.report import Analysis, Evaluation, Run
from hf_prune.verification.claims import Claim, Verification, shown

if TYPE_CHECKING:
    from pathlib import Path

    from hf_prune.analysis import Analysed
    from hf_prune.evaluation import EvaluatedModel
    from hf_prune.extract import Extracted
    from hf_prune.pipeline import Outcome

SHOWN_TRIALS = 12
WIDEST_CELL = 36  # characters; --json has all


def reporter(*, quiet: bool) -> Reporter:
    """What a run tells its user; nothing where they want it quiet."""
    return Reporter() if quiet else Reporter(progress=_bar, tell=tell)


def tell(line: str) -> None:
    """A line for the person, not for programs."""
    click.echo(line, err=True)


def _bar(items: Iterable[Item], label: str, total: int, unit: str = "it") -> Iterator[Item]:
    if not sys.stderr.isatty():
        return silent(items, label, total, unit)
    from tqdm import tqdm

    return iter(tqdm(items, desc=f"{label:<22}", total=total, unit=f" {unit}", file=sys.stderr))


def quieten_libraries(*, quiet: bool) -> None:
    """Keep what transformers and huggingface_hub say to themselves; their errors still arrive.

    Their bars for what takes long (downloads, uploads, reading a GGUF file) stay where someone watches.
    """
    import warnings

    watched = sys.stderr.isatty() and not quiet
    if not watched:
        os.environ["TQDM_DISABLE"] = "1"  # read when tqdm is first imported

    import transformers
    from huggingface_hub.utils import logging as hub_logging
    from huggingface_hub.utils.tqdm import disable_progress_bars

    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    hub_logging.set_verbosity_error()
    warnings.filterwarnings("ignore")
    if not watched:
        disable_progress_bars()


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
    click.echo(outcome.published.url if outcome.published else str(outcome.model))


def _show_table(run: Run) -> None:
    tell(f"{run.name}: {_what_became(run)}")
    table = Table()
    table.add_column("")
    variants = [p.variant for p in run.perplexities] or ["dense", *(a.variant for a in run.agreements)]
    for variant in variants:
        table.add_column(variant, justify="right")
    rows = {
        "perplexity": {p.variant: f"{p.perplexity:.2f}" for p in run.perplexities},
        "  in another domain": {p.variant: f"{p.perplexity:.2f}" for p in run.perplexities_elsewhere},
        "cosine to dense": {a.variant: f"{a.cosine:.4f}" for a in run.agreements},
        "accuracy": {c.variant: f"{100 * c.accuracy:.1f} %" for c in run.choices},
        "stability": {
            c.variant: f"{100 * c.stability:.1f} %" for c in run.choices if c.stability is not None
        },
        **{
            name: {s.variant: _with_error(".4f", s.value, s.stderr) for s in scores}
            for name, scores in _by_figure(run.scores).items()
        },
        "repetition": {w.variant: f"{100 * w.repetition:.1f} %" for w in run.writings},
        "parameters": {v: f"{run.anatomy_of(v).parameters / 1e6:,.1f} M" for v in variants},
        "first token": {s.variant: f"{1000 * s.first_token_seconds:.0f} ms" for s in run.speeds},
        "tokens/s": {s.variant: f"{s.decode_tokens_per_second:.1f}" for s in run.speeds},
        "  in a batch": {
            s.variant: f"{s.batch_tokens_per_second:.1f}" for s in run.speeds if s.batch_tokens_per_second
        },
        "peak memory": {s.variant: f"{s.peak_memory_bytes / 1e6:,.0f} MB" for s in run.speeds},
    }
    for name, values in rows.items():
        if values:
            table.add_row(name, *(values.get(variant, "") for variant in variants))
    _print(table)
    if run.depths:
        _show_depths(run)
    if run.healing.kept:
        tell(_healed(run))
    if run.speed_reason:
        tell(f"speed was not measured: {run.speed_reason}")
    if run.scores_reason:
        tell(f"not all tasks were measured: {run.scores_reason}")
    if run.writings_reason:
        tell(f"writing was not measured: {run.writings_reason}")
    for found in run.speculations:
        tell(_drafted(found))
    if run.speculation_reason:
        tell(f"as a draft it was not measured: {run.speculation_reason}")


def _by_figure(scores: Sequence[TaskScore]) -> dict[str, list[TaskScore]]:
    """What each variant has of each figure of each task, by its name."""
    found: dict[str, list[TaskScore]] = {}
    for score in scores:
        filtered = "" if score.answer_filter == "none" else f", {score.answer_filter}"
        found.setdefault(f"{score.task} {score.metric}{filtered}", []).append(score)
    return found


def _what_became(run: Run) -> str:
    """Of the layers."""
    told = []
    if run.plan.removed:
        told.append(f"layers {ranges(run.plan.removed)} removed, {len(run.plan.kept)} kept")
    if run.growth is not None:
        told.append(f"new layers {ranges(run.growth.layers)} of {run.result_anatomy.num_layers}")
    if run.depths:
        depths = ", ".join(str(depth.layers) for depth in run.depths)
        told.append(f"its first {depths} layers are models of their own")
    return "; ".join(told) or "all layers kept"


def _show_depths(run: Run) -> None:
    table = Table(title="The first layers as a model of their own")
    for column in ("layers", "parameters", "perplexity, original", "perplexity", "tokens/s", "peak memory"):
        table.add_column(column, justify="right")
    for depth in run.depths:
        speed = depth.speed
        table.add_row(
            str(depth.layers),
            f"{depth.parameters / 1e6:,.1f} M",
            f"{depth.truncated.perplexity:.2f}",
            f"{depth.perplexity.perplexity:.2f}",
            f"{speed.decode_tokens_per_second:.1f}" if speed else "",
            f"{speed.peak_memory_bytes / 1e6:,.0f} MB" if speed else "",
        )
    _print(table)


def _healed(run: Run) -> str:
    healing, plan = run.healing, run.healing.plan
    done = f"healed by {plan.method}" if run.plan.removed else f"trained ({plan.method})"
    return (
        f"{done} on {plan.num_tokens:,} tokens in {_duration(healing.seconds)}: "
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
    _print(table)
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
    click.echo(json.dumps(asdict(published), sort_keys=True) if as_json else published.url)


def show_verification(verification: Verification, *, as_json: bool) -> None:
    """What was found of every claim: one JSON object, or a table and whether all hold."""
    if as_json:
        found = asdict(verification) | {"holds": not verification.failed}
        click.echo(json.dumps(found, sort_keys=True))
        return
    table = Table(title=f"{verification.name}: what is claimed, and what was found")
    for column in ("claim", "claimed", "found", "tolerance", "holds"):
        table.add_column(column, overflow="fold")
    for claim in verification.claims:
        table.add_row(*map(escape, _claim_row(claim)))
    _print(table)
    for claim in verification.unchecked:
        tell(f"not checked: {claim.name}: {claim.detail}")
    for claim in verification.failed[1:]:
        tell(f"does not hold: {claim}")
    tell(verification.verdict)
    click.echo("does not hold" if verification.failed else "holds")


def _claim_row(claim: Claim) -> tuple[str, str, str, str, str]:
    verdict = {True: "yes", False: "NO", None: "not checked"}[claim.holds]
    found = "" if claim.measured is None else _cell(shown(claim.measured))
    tolerance = "" if claim.holds is None else claim.tolerance or "exact"
    return claim.name, _cell(shown(claim.claimed)), found, tolerance, verdict


def _cell(text: str) -> str:
    return text if len(text) <= WIDEST_CELL else f"{text[: WIDEST_CELL - 1]}…"


def show_analysis(analysed: "Analysed", *, as_json: bool) -> None:
    """What was found of a model's layers: one JSON object, or two tables and where the pictures are."""
    analysis, folder = analysed.analysis, analysed.folder
    if as_json:
        click.echo(json.dumps({"folder": str(folder), "analysis": asdict(analysis)}, sort_keys=True))
        return
    _show_layers(analysis)
    _show_blocks(analysis)
    if analysis.cornerstones:
        tell(f"cornerstones, whose loss alone doubles the perplexity: {ranges(analysis.cornerstones)}")
    tell(f"pictures: {folder / 'plots'}")
    click.echo(str(folder))


def show_evaluation(evaluated: "EvaluatedModel", *, as_json: bool) -> None:
    """What a model came to: one JSON object, or a table, and where evaluation.json is."""
    evaluation, folder = evaluated.evaluation, evaluated.folder
    if as_json:
        told = {"folder": str(folder), "refused": evaluated.refused, "evaluation": asdict(evaluation)}
        click.echo(json.dumps(told, sort_keys=True))
        return
    _show_measured(evaluation)
    if evaluation.speed_reason:
        tell(f"speed was not measured: {evaluation.speed_reason}")
    if evaluation.scores_reason:
        tell(f"not all tasks were measured: {evaluation.scores_reason}")
    click.echo(str(folder / "evaluation.json"))


def _show_measured(evaluation: Evaluation) -> None:
    """A row for each figure, a column for each model, and one for their difference."""
    variants = [measured.variant for measured in evaluation.perplexities]
    table = Table(title=evaluation.name)
    for column in ("", *variants, *(["difference"] if len(variants) > 1 else [])):
        table.add_column(column, justify="right" if column else "left")
    for name, form, values, errors in _measured(evaluation):
        if not values:
            continue
        found = [values[variant] for variant in variants if variant in values]
        cells = [
            _with_error(form, values[variant], errors.get(variant)) if variant in values else ""
            for variant in variants
        ]
        difference = [f"{found[-1] - found[0]:+{form}}"] if len(found) > 1 else []
        table.add_row(name, *cells, *difference)
    _print(table)


Figure = tuple[str, str, dict[str, float], dict[str, float]]  # name, form, values and errors by variant


def _measured(evaluation: Evaluation) -> Iterator[Figure]:
    """Everything that was measured, in the order of the table."""
    losses, choices = evaluation.perplexities, evaluation.choices
    yield "perplexity", ".2f", {p.variant: p.perplexity for p in losses}, {}
    yield (
        "loss, nats per token",
        ".4f",
        {p.variant: p.loss for p in losses},
        {p.variant: p.loss_stderr for p in losses},
    )
    for p in evaluation.perplexities_elsewhere[:1]:
        elsewhere = {p.variant: p.perplexity for p in evaluation.perplexities_elsewhere}
        yield f"perplexity, {p.text.name}", ".2f", elsewhere, {}
    errors = {c.variant: c.accuracy_stderr for c in choices}
    yield "multiple choice, accuracy", ".3f", {c.variant: c.accuracy for c in choices}, errors
    yield "  agreement", ".3f", {c.variant: c.agreement for c in choices if c.agreement is not None}, {}
    yield "  stability", ".3f", {c.variant: c.stability for c in choices if c.stability is not None}, {}
    for name, scores in _by_figure(evaluation.scores).items():
        errors = {s.variant: s.stderr for s in scores if s.stderr is not None}
        yield name, ".4f", {s.variant: s.value for s in scores}, errors
    yield "repetition", ".3f", {w.variant: w.repetition for w in evaluation.writings}, {}
    speeds = evaluation.speeds
    yield "tokens/s", ".1f", {s.variant: s.decode_tokens_per_second for s in speeds}, {}
    yield "peak memory, MB", ",.0f", {s.variant: s.peak_memory_bytes / 1e6 for s in speeds}, {}


def _with_error(form: str, value: float, error: float | None) -> str:
    return f"{value:{form}}" + (f" ± {error:{form}}" if error is not None else "")


def _show_layers(analysis: Analysis) -> None:
    """A row for each layer, a column for each criterion; the lowest of each is set bold."""
    table = Table(
        title=f"{analysis.dense.architecture}, {analysis.dense.num_layers} layers: lowest goes first"
    )
    table.add_column("layer", justify="right")
    scores = analysis.similarity.layer_scores
    for score in scores:
        table.add_column(score.criterion, justify="right")
    for layer in range(analysis.dense.num_layers):
        cells = []
        for score in scores:
            text = f"{score.values[layer]:.4g}"
            cells.append(f"[bold]{text}[/bold]" if score.values[layer] == min(score.values) else text)
        table.add_row(str(layer), *cells)
    _print(table)


def _show_blocks(analysis: Analysis) -> None:
    token = analysis.similarity.compared_token
    table = Table(title=f"Best block of each size, by angular distance at the {token} token")
    for column in ("layers", "block", "distance"):
        table.add_column(column, justify="right")
    for best in analysis.best_blocks[: analysis.dense.num_layers // 2]:
        table.add_row(str(best.size), str(best.block), f"{best.distance:.3f}")
    _print(table)


def show_estimate(estimate: Estimate, *, as_json: bool) -> None:
    """What a run would do and take: one JSON object, or a table."""
    if as_json:
        click.echo(json.dumps(asdict(estimate) | {"seconds": estimate.seconds}, sort_keys=True))
        return
    table = Table(title=f"{estimate.model}: nothing was fetched but headers", show_header=False)
    for name, text in _estimated(estimate).items():
        table.add_row(name, text)
    _print(table, to_stdout=True)


def _estimated(estimate: Estimate) -> dict[str, str]:
    left, size_left = estimate.parameters_left, estimate.size_bytes_left
    removed = estimate.layers_removed
    depth = "as many as the loss allows" if removed is None else f"{removed} of {estimate.num_layers}"
    return {
        "layers to remove": depth,
        "parameters": f"{estimate.parameters / 1e6:,.1f} M"
        + ("" if left is None else f" -> {left / 1e6:,.1f} M"),
        "weights": gigabytes(estimate.size_bytes)
        + ("" if size_left is None else f" -> {gigabytes(size_left)}"),
        "download": gigabytes(estimate.download_bytes) if estimate.download_bytes else "none",
        "disk for checkpoints": gigabytes(estimate.disk_bytes),
        "memory": f"{gigabytes(estimate.memory_bytes)} above Python's own",
        "healing": _healing_foreseen(estimate),
        "time": f"about {_duration(estimate.seconds)}",
        "  measuring": _duration(estimate.measuring_seconds),
        "  choosing": _duration(estimate.choosing_seconds),
        "  repairing": _duration(estimate.repairing_seconds),
        "  healing": _duration(estimate.healing_seconds),
        "  evaluating": _duration(estimate.evaluating_seconds),
        "this machine": f"{estimate.operations_per_second / 1e9:,.0f} billion operations a second",
    }


def _healing_foreseen(estimate: Estimate) -> str:
    """What would be trained and the memory for that, or why nothing is."""
    if estimate.healing_method == "none":
        return (estimate.healing_reason or "none").replace("nothing was trained", "none", 1)
    reason = f" ({estimate.healing_reason})" if estimate.healing_reason else ""
    return f"{estimate.healing_method}{reason}, in {gigabytes(estimate.healing_memory_bytes)} of memory"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _print(table: Table, *, to_stdout: bool = False) -> None:
    Console(stderr=not to_stdout).print(table)
