"""What `hf-prune analyze` measured of each layer."""

from dataclasses import asdict
from typing import TYPE_CHECKING

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
    dense, scores = analysis.dense, analysis.similarity.layer_scores
    rows = []
    for layer in range(dense.num_layers):
        cells = [str(layer)]
        for score in scores:
            text = f"{score.values[layer]:.4g}"
            cells.append(f"[bold]{text}[/bold]" if score.values[layer] == min(score.values) else text)
        rows.append(cells)
    title = f"{dense.architecture}, {dense.num_layers} layers: lowest goes first"
    print_table(title, ["layer", *(score.criterion for score in scores)], rows)


def _show_blocks(analysis: Analysis) -> None:
    token = analysis.similarity.compared_token
    shown = analysis.best_blocks[: analysis.dense.num_layers // 2]
    rows = [(str(best.size), str(best.block), f"{best.distance:.3f}") for best in shown]
    title = f"Best block of each size, by angular distance at the {token} token"
    print_table(title, ("layers", "block", "distance"), rows)
