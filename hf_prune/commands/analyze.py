"""`hf-prune analyze`: everything that can be said of a model's layers without removing any."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from hf_prune import hub
from hf_prune.errors import RecipeError
from hf_prune.machine.clock import Clock
from hf_prune.machine.disk import write_whole
from hf_prune.machine.environment import describe_environment
from hf_prune.machine.processes import join
from hf_prune.machine.progress import Reporter
from hf_prune.recipe.recipe import Recipe
from hf_prune.recipe.words import analysis_command_line, without_folders
from hf_prune.records import DECODER, Similarity, fingerprint, to_json
from hf_prune.records.blocks import best_blocks
from hf_prune.stages.card import plots
from hf_prune.stages.choose.criteria import cornerstones
from hf_prune.stages.measure.measurements import Measurements, measure_together, with_scores
from hf_prune.stages.original import Original, locate, open_original
from hf_prune.stages.run import Analysis
from hf_prune.stages.work import RunFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysed:
    """What an analysis leaves behind."""

    analysis: Analysis
    folder: Path


def analyze(
    recipe: Recipe,
    output: Path | None = None,
    *,
    permutations: int = 0,
    max_memory: int | None = None,
    fresh: bool = False,
    reporter: Reporter | None = None,
) -> Analysed | None:
    """Measure how much each layer of a model does, and write it down with pictures.

    Args:
        recipe: the model and the text; how to cut is ignored.
        output: the folder for similarity.json, analysis.json and plots/; None: one named after the model.
        permutations: how often Shapley sampling shuffles the layers; 0: no Shapley values.
        max_memory: bytes for hidden states, beyond which they go to a file; None: half of the free memory.

    Returns:
        None in the processes that torchrun started to help.

    Raises:
        HfPruneError: what went wrong, in one line.
    """
    clock, reporter = Clock(), reporter or Reporter()
    located = locate(replace(recipe, heal="none"), reporter)
    if permutations and located.anatomy.kind != DECODER:
        raise RecipeError("--shapley needs a loss, which encoders do not have here: leave it out")
    ranks = join(located.device)
    folder = RunFolder(output or Path(f"{located.model.name}-analysis"))
    if ranks.leads:
        folder.claim(fingerprint(recipe, permutations), fresh=fresh)
    original = open_original(located, folder.checkpoints, max_memory=max_memory, ranks=ranks)
    if ranks.count > 1:
        measure_together(original, hub.kept_results("scores"), ranks, reporter)
    if not ranks.leads:
        return None
    similarity = _measure(original, permutations, reporter)
    shown = without_folders(recipe)
    analysis = Analysis(
        command=analysis_command_line(shown, permutations),
        recipe=shown,
        environment=describe_environment(located.device),
        source=replace(original.source, model=shown.model, folder=Path(shown.model).name),
        dense=original.anatomy,
        similarity=similarity,
        best_blocks=best_blocks(similarity.angular_last_token),
        cornerstones=cornerstones(similarity) if similarity.scores("loss") else (),
        started=clock.started,
        seconds=clock.seconds,
    )
    _write(analysis, folder)
    return Analysed(analysis=analysis, folder=folder.path)


def _measure(original: Original, permutations: int, reporter: Reporter) -> Similarity:
    measurements = Measurements(original, hub.kept_results("scores"), reporter)
    similarity = measurements.similarity()
    criteria = ("taylor", "loss", "shapley") if permutations else ("taylor", "loss")
    for criterion in criteria if original.anatomy.kind == DECODER else ():
        similarity = with_scores(similarity, measurements.layer_scores(criterion, permutations=permutations))
    return similarity


def _write(analysis: Analysis, folder: RunFolder) -> None:
    similarity = analysis.similarity
    write_whole(folder.path / "similarity.json", to_json(similarity))
    write_whole(folder.path / "analysis.json", to_json(analysis))
    pictures = {
        "similarity": plots.similarity_heatmap(similarity, None),
        "block_sizes": plots.best_distance_per_block_size(similarity, None),
        "layer_scores": plots.layer_scores(similarity, None),
    }
    if similarity.scores("loss") is not None:
        pictures["drop_effects"] = plots.drop_effects(similarity, None)
    for name, picture in pictures.items():
        write_whole(folder.path / "plots" / f"{name}.png", picture)
    shutil.rmtree(folder.checkpoints, ignore_errors=True)
