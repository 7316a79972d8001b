"""Runs whose cards differ: each has, or lacks, something that a card tells of."""

from dataclasses import replace

from hf_prune.recipe.recipe import Recipe
from hf_prune.records import Anatomy, Attempt, HealingStep, Presentation, RemovalOrder, Variant
from hf_prune.stages.publish.replaced import previous_version
from hf_prune.stages.run import Recorded, Run
from tests.support.sample_run import (
    remeasured,
    sample_anatomy,
    sample_checkpoint,
    sample_export,
    sample_grown_run,
    sample_growth,
    sample_healing,
    sample_perplexity,
    sample_run,
    sample_score,
    sample_scores_of_tasks,
    sample_sorted_run,
    sample_speculation,
    sample_text,
    sample_tournament,
    sample_trained_run,
    sample_writing,
)


def bare_run() -> Run:
    """No bridge, no speed, no Hub id, no licence, several blocks, own texts of one sequence."""
    run = sample_run(Recipe(model="/home/someone/model", layers="0,5-6,20-22"), ["cut"])
    source = replace(
        run.source,
        model="/home/someone/model",
        repo_id=None,
        commit=None,
        license=None,
        languages=(),
    )
    own = replace(run.evaluated.perplexities[0].text, name="a|b`c.txt", dataset=None, num_sequences=1)
    perplexities = [replace(each, text=own, loss_stderr=0.0) for each in run.evaluated.perplexities]
    slow = Attempt(reason="this machine has less memory than the original needs")
    return replace(
        remeasured(run, perplexities=tuple(perplexities), choices=(), speeds=slow),
        source=source,
        dense=replace(run.dense, key_value_bytes_per_token=None),
    )


def partly_bridged_run() -> Run:
    run = sample_run(Recipe(model="m", layers="0,5-6,20-22"))
    reason = "nothing comes before layers 0, so nothing can be refitted"
    return replace(run, bridge=replace(run.bridge, reason=reason))


def tournament_run() -> Run:
    run = sample_run()
    held = sample_tournament(run.plan.removed)
    return replace(run, plan=replace(run.plan, method="auto", criterion="lowest loss", tournament=held))


def healed_run() -> Run:
    """Chosen by a tournament, bridged, healed, tried as a draft, measured in every way, and exported."""
    run = tournament_run()
    healed = sample_run(variants=("cut", "bridged", "healed"))
    all_variants = ("dense", "cut", "bridged", "healed")
    elsewhere = zip(all_variants, (24.7131, 92.8113, 71.2984, 58.1127), strict=True)
    text = replace(sample_text("wikitext_heldout", 24), dataset="Salesforce/wikitext")
    writings = (
        sample_writing("dense", 0.1231, None),
        sample_writing("cut", 0.6182, 2.625),
        sample_writing("bridged", 0.4417, 4.75),
        sample_writing("healed", 0.2125, 9.375),
    )
    measured = remeasured(
        healed,
        perplexities_elsewhere=tuple(
            replace(sample_perplexity(variant, perplexity, 0.0312), text=text)
            for variant, perplexity in elsewhere
        ),
        speculations=Attempt(found=(sample_speculation(),)),
        writings=Attempt(found=writings),
        scores=Attempt(found=sample_scores_of_tasks(all_variants)),
    )
    return replace(
        measured,
        plan=run.plan,
        chat_template=True,
        exports=Attempt(found=tuple(sample_export(form) for form in ("onnx", "onnx-8bit", "gguf"))),
    )


def unharmed_run() -> Run:
    """Nothing that was measured can be told from the original."""
    run = sample_run()
    dense, cut, _ = run.evaluated.perplexities
    bridged = replace(dense, variant="bridged", perplexity=20.3011, loss=dense.loss + 0.0088)
    return remeasured(
        run,
        perplexities=(dense, cut, bridged),
        writings=Attempt(
            found=(sample_writing("dense", 0.1231, None), sample_writing("bridged", 0.1302, 64.0))
        ),
        scores=Attempt(found=(sample_score("dense", 0.6128), sample_score("bridged", 0.6028))),
    )


def unscored_run() -> Run:
    return remeasured(sample_run(), scores=Attempt(reason="lm-evaluation-harness is not installed"))


def greedy_run() -> Run:
    """Layers taken out one after the other."""
    run = sample_run()
    order = RemovalOrder(
        layers=tuple(reversed(run.plan.removed)),
        losses=tuple(3.1 + 0.07 * step**1.5 for step in range(1, 9)),
        width=None,
        text=sample_text(num_sequences=16),
    )
    plan = replace(run.plan, method="greedy", criterion="greedy search by loss", distance=None)
    return replace(run, plan=plan, similarity=replace(run.similarity, removal_order=order))


def noted_run() -> Run:
    """Words of the user's own, by a template and as notes."""
    template = """{% extends "model_card.md.j2" %}
{% block limits %}
{{ super() }}- Asked by {{ run.name }}.
{% endblock %}
"""
    return replace(
        sample_run(),
        presentation=Presentation(
            template_name="ours.md.j2", template=template, notes="Made for the archive, where 12 GB are free."
        ),
    )


def undrafted_run() -> Run:
    return remeasured(sample_run(), speculations=Attempt(reason="cannot use a draft with it"))


def own_draft_run() -> Run:
    """Three depths proposed to the whole model: one paid, one did not, and of one it cannot be said."""
    run = sample_sorted_run()
    shallow = replace(
        sample_speculation(depth=12), tokens_per_second=21.4, tokens_per_second_range=(20.9, 22.2)
    )
    deep = replace(
        sample_speculation(depth=20),
        tokens_per_second=31.6,
        tokens_per_second_range=(30.9, 32.5),
        same_text=False,
    )
    return remeasured(run, speculations=Attempt(found=(shallow, sample_speculation(depth=16), deep)))


def healed_without_bridge_run() -> Run:
    """QLoRA on the text alone, because the predictions had no room; boundaries besides."""
    run = sample_run(variants=("cut", "healed"))
    plan = replace(
        run.healing.plan,
        method="qlora",
        reason="only with its weights in 4 bits does training fit into this GPU",
        objective="text",
        objective_reason="the original's predictions would take 9 GB of disk, and 5 GB are free",
        boundary_loss=0.5,
        targets="ffn",
        num_tokens=900_000,
    )
    return replace(run, healing=replace(run.healing, plan=plan))


def replaced_run() -> Run:
    """The layers before the gaps trained on the original's states; answers, not a data set, are the text."""
    run = sample_run(Recipe(model="m", layers="5-6,20-22"), variants=("cut", "bridged", "healed"))
    plan = replace(run.healing.plan, method="replace", reason=None, objective="states", boundary_loss=1.0)
    own = replace(sample_healing().text, name="answers to prompts.jsonl", dataset=None)
    return replace(run, healing=replace(run.healing, plan=plan, text=own, watched=own))


def diverged_run() -> Run:
    """The loss was no number at the first look, so there is no curve."""
    run = sample_run()
    reason = (
        "what was trained was left out, and the model is as before; the training diverged: its loss was no "
        "number after step 7"
    )
    healing = replace(
        sample_healing(),
        curve=(
            HealingStep(step=0, loss=None, watched_loss=3.7654),
            HealingStep(step=7, loss=None, watched_loss=None),
        ),
        loss_after=None,
        best_step=None,
        kept=False,
        reason=reason,
    )
    return replace(run, healing=healing)


def unkept_run() -> Run:
    run = sample_run()
    reason = (
        "what was trained was left out, and the model is as before; on the watched text it raised the loss "
        "from 3.765 to 3.901"
    )
    healing = replace(sample_healing(), loss_after=3.9012, best_step=0, kept=False, reason=reason)
    return replace(run, healing=healing)


def with_head_of_its_own(anatomy: Anatomy) -> Anatomy:
    """The figures of a model whose head was tied to its embedding, in bfloat16, and is no longer."""
    head = anatomy.vocabulary_size * anatomy.hidden_size
    return replace(
        anatomy,
        parameters=anatomy.parameters + head,
        size_bytes=anatomy.size_bytes + 2 * head,
        tied_embeddings=False,
    )


def untied_run() -> Run:
    """The last layers and the head were trained; the head was tied to the embedding."""
    run = sample_run(variants=("cut", "bridged", "healed"))
    plan = replace(
        run.healing.plan, method="partial", reason=None, rank=0, targets="", last_layers=3, train_head=True
    )
    anatomy = with_head_of_its_own(run.result_anatomy)
    return replace(
        run,
        healing=replace(run.healing, plan=plan),
        result_anatomy=anatomy,
        result=replace(run.result, parameters=anatomy.parameters, size_bytes=anatomy.size_bytes),
    )


def unpublished_bridge_run() -> Run:
    run = sample_run()
    dense, bridged = run.evaluated.speeds.found
    speeds = Attempt(found=(dense, replace(bridged, variant="cut")))
    return replace(remeasured(run, speeds=speeds), result=replace(run.result, variant="cut"))


def converted_run() -> Run:
    """From a gated repository's GGUF file, under a licence of its own."""
    run = sample_run()
    source = replace(
        run.source,
        gguf_file="model.Q4_1.gguf",
        license="other",
        license_name="llama2",
        license_link="LICENSE.txt",
        legal_files=("LICENSE.txt", "USE_POLICY.md"),
        gated=True,
        gate="manual",
        notice="org/model has no safetensors weights;\norg/model-hf was taken",
    )
    return replace(run, source=source)


def untrained_growth_run() -> Run:
    """New layers that do nothing yet."""
    return sample_grown_run(["grown"])


def cut_and_grown_run() -> Run:
    """Eight layers removed, the gap bridged, three new ones among what is left, these trained."""
    run = sample_run(variants=("cut", "bridged", "healed"))
    growth = replace(
        sample_growth(),
        after=(1, 4, 10),
        layers=(2, 6, 13),
        shallow=replace(sample_growth().shallow, end=11),
    )
    anatomy = sample_anatomy(25)
    return replace(
        run,
        growth=growth,
        intermediate=(*run.intermediate, Variant(name="grown", anatomy=anatomy)),
        result=sample_checkpoint("healed", anatomy),
        result_anatomy=anatomy,
        healing=replace(run.healing, plan=replace(run.healing.plan, method="grown")),
    )


def slow_sorted_run() -> Run:
    """One depth drawn a step; speed could not be measured."""
    run = sample_sorted_run()
    return replace(
        remeasured(
            run,
            depths=tuple(replace(depth, speed=None) for depth in run.evaluated.depths),
            speeds=Attempt(reason="this machine has less memory than the original needs"),
        ),
        recipe=replace(run.recipe, sample_depths=True),
    )


def trained_whole_run() -> Run:
    """Nothing removed, nothing added: trained as it is."""
    return sample_trained_run(Recipe(model="m", drop_layers=0, heal="lora"), "lora", ["healed"])


def questioned_run() -> Run:
    """Multiple choice out of a file, all answered rightly, so that no error can be given."""
    run = sample_run(Recipe(model="m", choices="a|b`c.jsonl"))
    right = [
        replace(each, name="a|b`c.jsonl", accuracy=1.0, accuracy_stderr=0.0) for each in run.evaluated.choices
    ]
    return remeasured(run, choices=tuple(right))


def replacing_run() -> Run:
    """A healed one, published where a cut of an earlier commit of the original was."""
    old, run = sample_run(variants=("cut",)), healed_run()
    worse = [replace(each, perplexity=each.perplexity + 0.777) for each in old.evaluated.perplexities]
    scores = Attempt(found=sample_scores_of_tasks(["dense", "cut"]))
    old = remeasured(old, perplexities=tuple(worse), scores=scores)
    old = replace(old, source=replace(old.source, commit="5eed" * 10))
    published = Recorded(run=old, schema_version=old.schema_version)
    return replace(
        run, before=previous_version(run, published, "c0ffee" * 6 + "c0ff", "2026-11-01T08:00:00Z")
    )


RUNS = [
    sample_run,
    replacing_run,
    tournament_run,
    healed_run,
    healed_without_bridge_run,
    replaced_run,
    diverged_run,
    unkept_run,
    untied_run,
    bare_run,
    partly_bridged_run,
    unpublished_bridge_run,
    converted_run,
    undrafted_run,
    own_draft_run,
    sample_grown_run,
    untrained_growth_run,
    cut_and_grown_run,
    sample_sorted_run,
    slow_sorted_run,
    trained_whole_run,
    questioned_run,
    unharmed_run,
    unscored_run,
    greedy_run,
    noted_run,
]
