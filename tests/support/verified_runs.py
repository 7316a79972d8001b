"""A finished run put together from its parts, without the stages that choose, prove and time."""

from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from hf_prune.machine.progress import silent
from hf_prune.model import anatomy
from hf_prune.model.decoder import open_decoder
from hf_prune.model.skeleton import build_skeleton
from hf_prune.recipe.criteria import NAMED
from hf_prune.recipe.recipe import Recipe
from hf_prune.records import Variant
from hf_prune.stages.choose.plan import plan_for
from hf_prune.stages.cut.checkpoint import write_checkpoint
from hf_prune.stages.evaluate.choices import answer
from hf_prune.stages.evaluate.items import items_from_text
from hf_prune.stages.evaluate.perplexity import perplexity
from hf_prune.stages.evaluate.stability import compare
from hf_prune.stages.publish.folder import assemble
from hf_prune.stages.texts.text import BUILT_IN_HELDOUT, built_in_text
from hf_prune.stages.texts.windows import to_windows
from hf_prune.stages.work import RunFolder
from tests.support.sample_run import remeasured, sample_bridge, sample_run, sample_similarity

KEPT = (0, 1, 2, 5)
FOLDED = "model.layers.2.mlp.down_proj.weight"  # as in sample_bridge
RECIPE = {"samples": 4, "eval_samples": 2, "sequence_length": 32, "choice_items": 4}


def make_run(base: Path, folder: Path) -> Path:
    """Layers 3 and 4 of a tiny Llama removed, and the layer before them given other weights."""
    places = {"dense": base, **{name: folder / "checkpoints" / name for name in ("cut", "bridged")}}
    weight = load_file(base / "model.safetensors")[FOLDED]
    made = {}
    for name, new in (("cut", {}), ("bridged", {FOLDED: weight * 1.05})):
        places[name].mkdir(parents=True)
        made[name] = write_checkpoint(
            base, places[name], kept=KEPT, variant=name, replacements=new, progress=silent
        )
    tokenizer, text = AutoTokenizer.from_pretrained(base), built_in_text(BUILT_IN_HELDOUT)
    windows = to_windows(text, tokenizer, num_sequences=2, length=32)
    items = items_from_text(to_windows(text, tokenizer, num_sequences=4, length=32))
    decoders = {name: open_decoder(place, torch.device("cpu")) for name, place in places.items()}
    answers = {name: answer(decoder, items, name, silent) for name, decoder in decoders.items()}
    recipe = Recipe(model=base.name, layers="3-4", bridge="refit", **RECIPE)
    run = sample_run(recipe, ("cut", "bridged"))
    similarity = sample_similarity(6)
    plan = plan_for(similarity, (3, 4), NAMED)
    measured = remeasured(
        run,
        perplexities=tuple(perplexity(d, windows, name, silent) for name, d in decoders.items()),
        choices=tuple(compare(items, name, answers[name], answers["dense"]) for name in decoders),
    )
    run = replace(
        measured,
        name="tiny-4L",
        command="hf-prune tiny --layers 3-4",
        environment=replace(run.environment, hf_prune=version("hf-prune")),
        source=replace(run.source, model="tiny", repo_id=None, commit=None, folder="tiny"),
        dense=anatomy.describe(build_skeleton(base)),
        similarity=similarity,
        plan=plan,
        result=made["bridged"],
        result_anatomy=anatomy.describe(build_skeleton(places["bridged"])),
        bridge=sample_bridge(plan),
        intermediate=(Variant(name="cut", anatomy=anatomy.describe(build_skeleton(places["cut"]))),),
    )
    assemble(run, RunFolder(folder), None)
    return folder
