"""What `hf-prune analyze` measured of each layer."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.table import Table

from hf_prune.cli.console.terminal import print_result, print_table, tell
from hf_prune.records.blocks import ranges
from hf_prune.stages.run import Analysis

if TYPE_CHECKING:
    from hf_prune.commands.analyze import Analysed


def show_analysis(analysed: "Analysed", *, as_json: bool) -> None:
    """Show what was measured of each layer: one JSON object, or two tables and where the pictures are."""
    analysis, folder = analysed.analysis, analysed.folder
    if not as_json:
        _show_layers(analysis)
        _show_blocks(analysis)
        if analysis.cornerstones:
            layers = ranges(analysis.cornerstones)
            tell(f"cornerstones (without one of them, perplexity at least doubles): {layers}")
        tell(f"pictures: {folder / 'plots'}")
    print_result({"folder": str(folder), "analysis": asdict(analysis)}, str(folder), as_json=as_json)


def _show_layers(analysis: Analysis) -> None:
    """A row for each layer, a column for each criterion, whose lowest score is bold."""
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
    print_table(table)


def _show_blocks(analysis: Analysis) -> None:
    token = analysis.similarity.compared_token
    table = Table(title=f"Best block of each size, by angular distance at the {token} token")
    for column in ("layers", "block", "distance"):
        table.add_column(column, justify="right")
    for best in analysis.best_blocks[: analysis.dense.num_layers // 2]:
        table.add_row(str(best.size), str(best.block), f"{best.distance:.3f}")
    print_table(table)
