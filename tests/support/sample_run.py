"""A finished run that never ran: plausible figures for a model of thirty layers."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hf_prune.recipe.criteria import AUTO, CRITERIA, NAMED
from hf_prune.recipe.faults import UNHEALED
from hf_prune.recipe.parse import parse_layers
from hf_prune.recipe.recipe import Recipe
from hf_prune.records import (
    IMAGE_ENCODER,
    Agreement,
    Anatomy,
    Attempt,
    Block,
    Bridge,
    BridgeAgreement,
    BridgeTrial,
    Check,
    Checkpoint,
    Choices,
    Contest,
    CutAgreement,
    Depth,
    DepthLoss,
    Environment,
    Estimate,
    Evaluated,
    Export,
    FoldedBridge,
    Growth,
    Healing,
    HealingPlan,
    HealingStep,
    LayerScores,
    Matrix,
    Perplexity,
    Plan,
    Proof,
    Similarity,
    Source,
    Speculation,
    Speed,
    SpeedUp,
    TaskScore,
    TextTokens,
    Tournament,
    Trial,
    Variant,
    WeightFile,
    Writing,
)
from hf_prune.stages.choose.criteria import propose
from hf_prune.stages.choose.plan import plan_for
from hf_prune.stages.run import SCHEMA_VERSION, Run

PARAMETERS_PER_LAYER = 3_540_096
OTHER_PARAMETERS = 28_312_128
KEY_VALUE_BYTES_PER_LAYER = 768


def sample_text(name: str = "c4_calibration", num_sequences: int = 64) -> TextTokens:
    return TextTokens(
        name=name,
        dataset="allenai/c4",
        num_sequences=num_sequences,
        sequence_length=512,
        num_tokens=num_sequences * 512,
        sha256=f"{num_sequences:064x}",
    )


def sample_distances(num_layers: int) -> Matrix:
    """Early and last layers move the stream far, those at two thirds of the depth hardly."""
    position = [0.0]
    for layer in range(num_layers):
        depth = layer / max(num_layers - 1, 1)
        step = 0.02 + 0.25 * (depth - 0.65) ** 2 + 0.25 * (depth == 0) + 0.3 * (depth == 1)
        position.append(position[-1] + step * 30 / num_layers)
    return tuple(tuple(0.5 * (1 - math.exp(-abs(one - other))) for other in position) for one in position)


def sample_similarity(num_layers: int = 30) -> Similarity:
    angular = sample_distances(num_layers)
    cosine = tuple(tuple(math.cos(math.pi * value) for value in row) for row in angular)
    return Similarity(
        num_layers=num_layers,
        calibration=sample_text(),
        angular_last_token=angular,
        angular_all_tokens=angular,
        cosine_all_tokens=cosine,
        sampled_tokens=4096,
        layer_scores=sample_scores(num_layers, [cosine[n][n + 1] for n in range(num_layers)]),
    )


def sample_scores(num_layers: int, cosines: Sequence[float]) -> tuple[LayerScores, ...]:
    """Scores of every criterion; the first and the last layers are cornerstones."""
    bend = tuple(1 - cosine for cosine in cosines)
    ends = {0: 7.1, 1: 2.6, num_layers - 1: 2.2}
    values = {
        "bi": bend,
        "relative-magnitude": tuple(0.2 + 2 * value for value in bend),
        "magnitude": tuple(5e5 + 1e3 * layer for layer in range(num_layers)),
        "taylor": tuple(0.01 + value for value in bend),
        "loss": tuple(ends.get(layer, 0.05 + 3 * bend[layer]) for layer in range(num_layers)),
    }
    return tuple(
        LayerScores(criterion=name, values=found, text=None if name == "magnitude" else sample_text())
        for name, found in values.items()
    )


def sample_plan(num_layers: int = 30, recipe: Recipe | None = None) -> Plan:
    """What the recipe names, or the block of a quarter of the layers that `angular` chooses."""
    similarity = sample_similarity(num_layers)
    if recipe is not None and recipe.layers is not None:
        return plan_for(similarity, parse_layers(recipe.layers), NAMED)
    return plan_for(similarity, propose("angular", similarity, max(1, (num_layers + 2) // 4)), "angular")


def sample_tournament(removed: tuple[int, ...]) -> Tournament:
    """Three trials of which the first won and the last left early."""
    shifted = tuple(layer - 1 for layer in removed)
    trials = (
        sample_trial(removed, ("neighbour",), 8192, 4.012, 0.0),
        sample_trial(shifted, ("angular", "cosine"), 8192, 4.101, 0.089),
        sample_trial(tuple(range(30 - len(removed), 30)), ("reverse",), 2048, 9.87, 5.75),
    )
    return Tournament(
        text=sample_text(num_sequences=16), original_loss=3.431, trials=trials, budget=10.0, cost=8.74
    )


def sample_trial(
    removed: tuple[int, ...], proposed_by: tuple[str, ...], num_tokens: int, loss: float, behind: float
) -> Trial:
    return Trial(
        removed=removed,
        proposed_by=proposed_by,
        num_tokens=num_tokens,
        loss=loss,
        divergence=loss - 3.4,
        behind=behind,
        behind_stderr=behind / 10,
        bridged=True,
    )


def sample_estimate() -> Estimate:
    return Estimate(
        model="SmolLM2-135M",
        num_layers=30,
        layers_removed=8,
        parameters=134_515_008,
        parameters_left=106_194_240,
        size_bytes=269_030_016,
        size_bytes_left=212_388_480,
        download_bytes=269_060_552,
        disk_bytes=424_776_960,
        memory_bytes=310_000_000,
        measuring_seconds=33.3,
        choosing_seconds=333.0,
        repairing_seconds=33.3,
        evaluating_seconds=45.5,
        healing_method="none",
        healing_reason="nothing was trained: on a CPU that is done only when asked for",
        healing_memory_bytes=0,
        healing_seconds=0.0,
        operations_per_second=4.2e11,
    )


def sample_bridge(plan: Plan) -> Bridge:
    folded = tuple(
        FoldedBridge(
            block=block,
            layer=block.start - 1,
            tensor=f"model.layers.{block.start - 1}.mlp.down_proj.weight",
            ridge=0.05,
            num_tokens=32704,
            gap_unrepaired=0.3127,
            gap_repaired=0.1874,
        )
        for block in plan.blocks
        if block.start > 0
    )
    losses = {"refit": (3.4612, 0.4127), "lstsq": (3.5208, 0.4719), "none": (3.8014, 0.7523)}
    trials = tuple(BridgeTrial(method=m, loss=loss, divergence=kl) for m, (loss, kl) in losses.items())
    contest = Contest(text=sample_text("c4_calibration", 16), trials=trials)
    return Bridge(method="refit", folded=folded, reason=None, contest=contest)


def sample_healing_plan() -> HealingPlan:
    return HealingPlan(
        method="lora",
        reason="LoRA on the model as it is fits into this GPU",
        objective="predictions",
        targets="all",
        rank=64,
        learning_rate=0.001,
        num_tokens=299_008,
        sequence_length=512,
        batch=4,
        micro_batch=4,
        gradient_checkpointing=True,
        memory_bytes=2_345_678_901,
        seconds=171.0,
    )


def sample_healing() -> Healing:
    """A training whose best step is not its last."""
    watched = {0: 3.7654, 36: 3.5012, 72: 3.4101, 108: 3.3605, 144: 3.3456, 146: 3.3461}
    return Healing(
        plan=sample_healing_plan(),
        text=sample_text("c4_healing", 585),
        watched=sample_text("c4_healing", 16),
        trained_parameters=14_308_352,
        tensors=154,
        curve=tuple(
            HealingStep(step=step, loss=loss - 3.2 if step else None, watched_loss=loss)
            for step, loss in watched.items()
        ),
        loss_before=3.7654,
        loss_after=3.3456,
        best_step=144,
        kept=True,
        reason=None,
        seconds=187.3,
    )


def sample_no_healing(reason: str | None = None) -> Healing:
    """Of a run that trained nothing, for a reason or because that was asked for."""
    return Healing(plan=HealingPlan(method="none", reason=reason))


def sample_anatomy(num_layers: int) -> Anatomy:
    parameters = OTHER_PARAMETERS + num_layers * PARAMETERS_PER_LAYER
    return Anatomy(
        architecture="LlamaForCausalLM",
        auto_class="AutoModelForCausalLM",
        model_type="llama",
        num_layers=num_layers,
        layer_path="model.layers",
        hidden_size=576,
        vocabulary_size=49152,
        dtype="bfloat16",
        parameters=parameters,
        parameters_per_layer=(PARAMETERS_PER_LAYER,) * num_layers,
        size_bytes=2 * parameters,
        tied_embeddings=True,
        key_value_bytes_per_token=KEY_VALUE_BYTES_PER_LAYER * num_layers,
    )


def sample_perplexity(variant: str, perplexity: float, loss_stderr: float) -> Perplexity:
    return Perplexity(
        variant=variant,
        perplexity=perplexity,
        loss=math.log(perplexity),
        loss_stderr=loss_stderr,
        num_predictions=32 * 511,
        text=sample_text("c4_heldout", 32),
    )


def sample_choices(variant: str, right: int, agreeing: int, stability: float) -> Choices:
    """Of 64 items; the original agrees with itself, which is not said."""
    compared = {
        "agreement": agreeing / 64,
        "stability": stability,
        "stability_items": 52.1837,
    }
    return Choices(
        variant=variant,
        name="c4_heldout",
        num_items=64,
        sha256="c" * 64,
        chance=0.25,
        accuracy=right / 64,
        accuracy_stderr=math.sqrt(right / 64 * (1 - right / 64) / 63),
        **({} if variant == "dense" else compared),
    )


def sample_speed(variant: str, decode: float, prompt: float, memory: int) -> Speed:
    return Speed(
        variant=variant,
        decode_tokens_per_second=decode,
        decode_tokens_per_second_range=(decode * 0.96, decode * 1.03),
        first_token_seconds=128 / prompt,
        first_token_seconds_range=(128 / prompt * 0.98, 128 / prompt * 1.05),
        batch_size=8,
        batch_tokens_per_second=decode * 3.1,
        batch_tokens_per_second_range=(decode * 3.0, decode * 3.2),
        peak_memory_bytes=memory,
        runs=5,
        prompt_tokens=128,
        new_tokens=64,
        device="cpu",
        dtype="bfloat16",
        threads=2,
        decode_speed_up=None if variant == "dense" else sample_speed_up(1.3312),
        first_token_speed_up=None if variant == "dense" else sample_speed_up(1.3419),
        batch_speed_up=None if variant == "dense" else sample_speed_up(1.2987),
    )


def sample_speed_up(median: float) -> SpeedUp:
    return SpeedUp(median=median, quartiles=(0.98 * median, 1.01 * median))


def sample_score(
    variant: str, value: float, task: str = "arc_easy", metric: str = "acc", stderr: float | None = 0.0148
) -> TaskScore:
    return TaskScore(
        variant=variant,
        task=task,
        version="1.0",
        metric=metric,
        answer_filter="none",
        value=value,
        stderr=stderr,
        higher_is_better=True,
        generates=False,
        num_fewshot=0,
        num_items=1188,
        sha256="e" * 64,
        harness="0.4.13",
    )


def sample_written_score(variant: str, value: float, answer_filter: str = "strict-match") -> TaskScore:
    """Of the whole of GSM8K."""
    return replace(
        sample_score(variant, value, "gsm8k", "exact_match", 0.0092),
        version="3.0",
        answer_filter=answer_filter,
        generates=True,
        num_fewshot=5,
        num_items=1319,
        sha256="d" * 64,
    )


def sample_scores_of_tasks(variants: Sequence[str]) -> tuple[TaskScore, ...]:
    """Each variant better than the one before, the original best; writing suffers more than choosing."""
    found: list[TaskScore] = []
    for variant in variants:
        place = 0 if variant == "dense" else len(variants) - variants.index(variant)
        lost = 0.9**place
        found += [
            sample_score(variant, 0.6128 * lost),
            sample_score(variant, 0.5537 * lost, metric="acc_norm"),
            sample_score(variant, 0.4216 * lost**0.5, "hellaswag", "acc_norm", 0.0049),
            sample_score(variant, 0.7123 * lost**0.3, "unheard_of"),
            replace(
                sample_score(variant, 15.9143 / lost**3, "wikitext", "word_perplexity", None),
                higher_is_better=False,
                num_items=62,
            ),
            sample_written_score(variant, 0.2873 * 0.5**place),
            sample_written_score(variant, 0.3078 * 0.6**place, "flexible-extract"),
        ]
    return tuple(found)


def sample_writing(variant: str, repetition: float, same_tokens: float | None) -> Writing:
    return Writing(
        variant=variant,
        repetition=repetition,
        repetition_stderr=0.031,
        same_tokens=same_tokens,
        written_tokens=61.25,
        num_texts=8,
        new_tokens=64,
        sample="and the sea was as calm as it had been the day before.",
        text=sample_text("c4_heldout", 8),
    )


def sample_export(form: str = "onnx") -> Export:
    paths = {
        "onnx": "onnx/model.onnx",
        "onnx-8bit": "onnx/model_quantized.onnx",
        "gguf": "SmolLM2-135M-22L-F16.gguf",
    }
    check = Check(name="20 greedy tokens", passed=form != "onnx-8bit", detail="the same as PyTorch's")
    return Export(
        format=form,
        path=paths[form],
        size_bytes=431_000_000,
        sha256="f" * 64,
        checks=(check,),
        divergence=0.0068,
        versions="gguf 0.17.1" if form == "gguf" else "onnx 1.23.2, onnxruntime 1.31.1",
    )


def sample_speculation(draft: str = "healed", depth: int | None = None) -> Speculation:
    """A draft that pays: 2.7 tokens a pass, and 1.21 times as fast."""
    return Speculation(
        draft=draft,
        depth=depth,
        proposed_tokens=187,
        accepted_tokens=121,
        tokens_per_second=37.9124,
        tokens_per_second_range=(37.1, 38.4),
        tokens_per_second_alone=31.2719,
        tokens_per_second_alone_range=(30.8, 31.9),
        runs=3,
        prompts=4,
        prompt_tokens=32,
        new_tokens=48,
        same_text=True,
        device="cpu",
        dtype="bfloat16",
        threads=2,
    )


def sample_proof(variant: str, expected: str) -> Proof:
    checks = (
        Check(name="tensors", passed=True, detail="200 tensors, none missing, none unexpected"),
        Check(name="logits", passed=True, detail=f"largest difference from {expected}: 0.0"),
        Check(name="cached decoding", passed=True, detail="16 tokens, the same with and without"),
    )
    return Proof(variant=variant, checks=checks)


def sample_source() -> Source:
    return Source(
        model="HuggingFaceTB/SmolLM2-135M",
        repo_id="HuggingFaceTB/SmolLM2-135M",
        revision=None,
        commit="93efa2f097d58c2a74874c7e644dbc9b0cee75a2",
        folder="/cache/models--HuggingFaceTB--SmolLM2-135M",
        license="apache-2.0",
        languages=("en",),
    )


def sample_environment() -> Environment:
    return Environment(
        hf_prune="0.1.0",
        python="3.11.9",
        torch="2.15.0",
        transformers="5.23.0",
        platform="Linux-6.8.0-x86_64",
        processor="Intel Xeon Platinum 8375C",
        device="cpu",
        threads=2,
        memory_bytes=16_623_000_000,
    )


def sample_checkpoint(variant: str, anatomy: Anatomy) -> Checkpoint:
    file = WeightFile(name="model.safetensors", size_bytes=anatomy.size_bytes + 9_000, sha256="5" * 64)
    return Checkpoint(
        variant=variant,
        folder="model",
        parameters=anatomy.parameters,
        size_bytes=anatomy.size_bytes,
        weights=(file,),
    )


def remeasured(run: Run, **figures: Any) -> Run:
    """The same run with other measurements, by the fields of `Evaluated`."""
    return replace(run, evaluated=replace(run.evaluated, **figures))


def sample_run(recipe: Recipe | None = None, variants: Sequence[str] = ("cut", "bridged")) -> Run:
    """A run; its `variants` are what was made, and the last is what is published."""
    recipe = recipe or Recipe(model="HuggingFaceTB/SmolLM2-135M", method="angular")
    plan = sample_plan(30, recipe)
    result = sample_anatomy(len(plan.kept))
    published = variants[-1]
    chosen = {
        "cut": (27, 45, 0.6912),
        "bridged": (33, 49, 0.7634),
        "grown": (40, 64, 1.0),
        "healed": (38, 56, 0.8811),
    }
    figures = {
        "cut": (61.2475, 0.0307),
        "bridged": (43.1812, 0.0288),
        "grown": (20.1234, 0.0223),
        "healed": (28.4127, 0.0271),
    }
    unbridged = Bridge(method="none", folded=(), reason="the recipe asked for no bridge")
    return Run(
        schema_version=SCHEMA_VERSION,
        name=f"SmolLM2-135M-{len(plan.kept)}L",
        command="hf-prune run HuggingFaceTB/SmolLM2-135M --ratio 0.25 --seed 0",
        recipe=recipe,
        environment=sample_environment(),
        source=sample_source(),
        dense=sample_anatomy(30),
        similarity=sample_similarity(),
        plan=plan,
        result=sample_checkpoint(published, result),
        result_anatomy=result,
        proofs=tuple(sample_proof(variant, "the original with those layers skipped") for variant in variants),
        intermediate=tuple(Variant(name=variant, anatomy=result) for variant in variants[:-1]),
        bridge=sample_bridge(plan) if "bridged" in variants else unbridged,
        healing=sample_healing() if "healed" in variants else sample_no_healing(),
        started="2026-11-21T08:00:00Z",
        seconds=221.4,
        evaluated=Evaluated(
            perplexities=(
                sample_perplexity("dense", 20.1234, 0.0223),
                *(sample_perplexity(variant, *figures[variant]) for variant in variants),
            ),
            choices=(
                sample_choices("dense", 42, 64, 1.0),
                *(sample_choices(variant, *chosen[variant]) for variant in variants),
            ),
            speeds=Attempt(
                found=(
                    sample_speed("dense", 31.4159, 812.4, 701_234_567),
                    sample_speed(published, 41.8273, 1093.7, 588_765_432),
                )
            ),
        ),
    )


def sample_growth(num_layers: int = 30) -> Growth:
    """A new layer after every other one of the first half; the first layers matter most."""
    after = tuple(range(1, num_layers // 2, 2))
    return Growth(
        after=after,
        layers=tuple(layer + 1 + new for new, layer in enumerate(after)),
        silenced=("model.layers.0.self_attn.o_proj.weight", "model.layers.0.mlp.down_proj.weight"),
        shallow=Block(start=0, end=max(num_layers // 2, 1)),
        removal_losses=tuple(6.2 * 0.7**layer + 0.08 for layer in range(num_layers)),
        expansion_losses=tuple(2.4 * 0.75**layer + 0.01 for layer in range(num_layers)),
        text=sample_text(num_sequences=16),
    )


def sample_trained_run(recipe: Recipe, method: str, variants: Sequence[str]) -> Run:
    """A run that removed nothing, so that there is no cut and no bridge."""
    run = sample_run(recipe, variants)
    plan = replace(sample_healing_plan(), method=method, reason=None, targets="", rank=0, objective="text")
    healing = replace(sample_healing(), plan=plan, loss_before=3.0211, loss_after=2.9103)
    trained = sample_perplexity("healed", 18.4127, 0.0219)
    perplexities = [trained if each.variant == "healed" else each for each in run.evaluated.perplexities]
    return replace(
        remeasured(run, perplexities=tuple(perplexities)),
        bridge=Bridge(method="none", folded=(), reason=None),
        plan=plan_for(run.similarity, (), NAMED),
        result=sample_checkpoint(variants[-1], run.dense),
        result_anatomy=run.dense,
        proofs=tuple(sample_proof(variant, "the original") for variant in variants),
        healing=healing if "healed" in variants else sample_no_healing(),
    )


def sample_grown_run(variants: Sequence[str] = ("grown", "healed")) -> Run:
    """Seven new layers in the shallow half, trained alone; the last variant is published.

    What is grown alone is not measured where it was trained: it computes what the original does.
    """
    run = sample_trained_run(Recipe(model="HuggingFaceTB/SmolLM2-135M", grow="7"), "grown", variants)
    anatomy, measured = sample_anatomy(37), ("dense", variants[-1])
    speed = sample_speed(variants[-1], 25.7312, 655.2, 771_234_567)
    return replace(
        remeasured(
            run,
            perplexities=tuple(each for each in run.evaluated.perplexities if each.variant in measured),
            speeds=Attempt(found=(run.evaluated.speeds.found[0], speed)),
        ),
        name="SmolLM2-135M-37L",
        command="hf-prune grow HuggingFaceTB/SmolLM2-135M --new-layers 7",
        growth=sample_growth(),
        result=sample_checkpoint(variants[-1], anatomy),
        result_anatomy=anatomy,
        intermediate=tuple(Variant(name=variant, anatomy=anatomy) for variant in variants[:-1]),
    )


def sample_depth(layers: int, truncated: float, trained: float) -> Depth:
    anatomy = sample_anatomy(layers)
    return Depth(
        layers=layers,
        parameters=anatomy.parameters,
        size_bytes=anatomy.size_bytes,
        truncated=sample_perplexity("dense", truncated, 0.04),
        perplexity=sample_perplexity("healed", trained, 0.025),
        speed=sample_speed("healed", 940 / layers, 24_000 / layers, 560_000_000 + anatomy.size_bytes // 2),
    )


def sample_sorted_run() -> Run:
    """A model whose first layers are models of their own."""
    recipe = Recipe(model="HuggingFaceTB/SmolLM2-135M", depths="12,16,20,24")
    run = sample_trained_run(recipe, "sorted", ["healed"])
    figures = {12: (8123.4, 61.214), 16: (2988.1, 40.177), 20: (911.2, 29.403), 24: (140.8, 23.122)}
    shorter = [sample_depth(layers, *each) for layers, each in figures.items()]
    speed = sample_speed("healed", 31.2957, 810.1, 700_987_654)
    whole = Depth(
        layers=run.dense.num_layers,
        parameters=run.result.parameters,
        size_bytes=run.result.size_bytes,
        truncated=run.evaluated.perplexities[0],
        perplexity=run.evaluated.perplexities[-1],
        speed=speed,
    )
    return replace(
        remeasured(
            run, depths=(*shorter, whole), speeds=Attempt(found=(run.evaluated.speeds.found[0], speed))
        ),
        name="SmolLM2-135M-sorted",
        command="hf-prune sort HuggingFaceTB/SmolLM2-135M --depths 12,16,20,24",
        healing=replace(
            run.healing,
            depths=tuple(
                DepthLoss(layers=layers, before=round(math.log(before), 4), after=round(math.log(after), 4))
                for layers, (before, after) in figures.items()
            ),
        ),
    )


def sample_agreement(variant: str, cosine: float, text: TextTokens) -> Agreement:
    return Agreement(variant=variant, cosine=cosine, cosine_stderr=0.0021, text=text)


def sample_encoder_run(kind: str = IMAGE_ENCODER, variants: Sequence[str] = ("cut", "bridged")) -> Run:
    """A vision transformer, or an encoder of text, of twelve layers that lost three."""
    images = kind == IMAGE_ENCODER
    recipe = (
        Recipe(model="facebook/dinov2-base", calibration="photos")
        if images
        else Recipe(model="google-bert/bert-base-uncased")
    )
    similarity = replace(sample_similarity(12), compared_token="first")
    similarity = replace(
        similarity,
        layer_scores=tuple(
            scores for scores in similarity.layer_scores if CRITERIA[scores.criterion].needs == "similarity"
        ),
    )
    tried = (
        CutAgreement(removed=(8, 9, 10), proposed_by=("angular", "cosine"), cosine=0.9512, bridged=True),
        CutAgreement(removed=(9, 10, 11), proposed_by=("reverse",), cosine=0.9377, bridged=True),
    )
    plan = plan_for(similarity, (8, 9, 10), AUTO, agreements=tried)
    dense, result = (
        replace(
            sample_anatomy(layers),
            architecture="Dinov2Model" if images else "BertForMaskedLM",
            auto_class="AutoModel" if images else "AutoModelForMaskedLM",
            kind=kind,
            key_value_bytes_per_token=None,
        )
        for layers in (12, 9)
    )
    run = sample_run(variants=variants)
    bridge = sample_bridge(plan) if "bridged" in variants else run.bridge
    forms = (
        BridgeAgreement(method="refit", cosine=0.9521),
        BridgeAgreement(method="none", cosine=0.8123),
    )
    text = replace(
        sample_text("photos (set aside)" if images else "c4_heldout", 32),
        dataset=None if images else "allenai/c4",
        sequence_length=257 if images else 512,
        num_tokens=32 * (257 if images else 512),
    )
    cosines = {"cut": 0.8098, "bridged": 0.9508}
    name = "dinov2-base" if images else "bert-base-uncased"
    measured = remeasured(
        run,
        perplexities=(),
        choices=(),
        agreements=tuple(sample_agreement(variant, cosines[variant], text) for variant in variants),
        speeds=Attempt(reason="hf-prune measures them for decoders only"),
    )
    return replace(
        measured,
        name=f"{name}-9L",
        command=f"hf-prune {recipe.model}{' --calibration photos' if images else ''}",
        recipe=recipe,
        source=replace(sample_source(), model=recipe.model, repo_id=recipe.model, folder=name),
        dense=dense,
        similarity=replace(similarity, calibration=replace(text, name="photos")) if images else similarity,
        plan=plan,
        result=sample_checkpoint(variants[-1], result),
        result_anatomy=result,
        bridge=replace(bridge, contest=Contest(text=text, trials=(), agreements=forms)),
        intermediate=tuple(Variant(name=variant, anatomy=result) for variant in variants[:-1]),
        healing=sample_no_healing(UNHEALED),
    )
