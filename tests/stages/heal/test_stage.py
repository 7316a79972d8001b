"""A whole run that heals: what is published, what is recorded, and what happens when training fails."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

import hf_prune as api
from tests.stages.heal.test_responses import TEMPLATE
from tests.support.tool import hf_prune

QUICK = ("--layers", "2-3", "--samples", "8", "--eval-samples", "4", "--choice-items", "4", "--seq-len", "64")
SHORT = ("--heal-tokens", "20k")


def run_of(folder):
    return json.loads((folder / "run.json").read_text())


def perplexities(run):
    return {measured["variant"]: measured["perplexity"] for measured in run["evaluated"]["perplexities"]}


@pytest.fixture(scope="module")
def healed(trained_model, tmp_path_factory):
    """`hf-prune MODEL --heal lora`, once."""
    folder = tmp_path_factory.mktemp("healed") / "run"
    words = (str(trained_model), *QUICK, *SHORT, "--heal", "lora", "--lr", "3e-3", "--output", str(folder))
    assert hf_prune(*words).code == 0
    return folder


@pytest.fixture(scope="module")
def in_bfloat16(trained_model, tmp_path_factory):
    """The same model, stored in half the room."""
    folder = tmp_path_factory.mktemp("bfloat16") / "model"
    shutil.copytree(trained_model, folder)
    AutoModelForCausalLM.from_pretrained(trained_model, dtype=torch.bfloat16).save_pretrained(folder)
    return folder


def test_the_healed_model_is_published_and_predicts_better_than_the_bridged_one(healed):
    run = run_of(healed)
    assert run["result"]["variant"] == "healed"
    measured = perplexities(run)
    assert measured["dense"] < measured["healed"] < measured["bridged"] < measured["cut"]
    assert AutoModelForCausalLM.from_pretrained(healed / "model").config.num_hidden_layers == 4


def test_the_run_tells_what_was_trained_on_what_and_how_it_went(healed):
    healing = run_of(healed)["healing"]
    assert healing["kept"]
    assert healing["reason"] is None
    assert healing["loss_after"] < healing["loss_before"]
    assert healing["plan"]["objective"] == "predictions"
    assert healing["text"]["name"] == "c4_healing"
    assert healing["text"]["sha256"] != healing["watched"]["sha256"]
    curve = healing["curve"]
    assert curve[0]["step"] == 0
    assert curve[0]["watched_loss"] == pytest.approx(healing["loss_before"], rel=1e-4)
    best = next(point for point in curve if point["step"] == healing["best_step"])
    assert best["watched_loss"] == min(point["watched_loss"] for point in curve)
    assert best["watched_loss"] == pytest.approx(healing["loss_after"], rel=1e-4)


def test_the_reloaded_weights_are_proved_to_compute_what_was_trained(healed):
    proof = run_of(healed)["proofs"][-1]
    assert proof["variant"] == "healed"
    assert all(check["passed"] for check in proof["checks"])


def test_nothing_but_the_result_is_left_of_a_training(healed):
    assert sorted(path.name for path in healed.iterdir()) == [
        "model",
        "run.json",
        "similarity.json",
        "stages",
    ]


def test_on_a_cpu_nothing_is_trained_unasked(trained_model, tmp_path):
    outcome = hf_prune(str(trained_model), *QUICK, "--output", str(tmp_path / "run"))
    assert "--heal lora would take about" in outcome.err
    run = run_of(tmp_path / "run")
    assert run["result"]["variant"] == "bridged"
    assert run["healing"]["plan"]["method"] == "none"


@pytest.mark.slow
def test_a_training_that_makes_it_worse_leaves_the_bridged_weights_and_says_so(
    healed, trained_model, tmp_path
):
    plain = hf_prune(str(trained_model), *QUICK, "--heal", "none", "--output", str(tmp_path / "plain"))
    words = ("--heal", "partial", "--no-distill", "--lr", "0.9", "--heal-tokens", "4k")
    outcome = hf_prune(str(trained_model), *QUICK, *words, "--output", str(tmp_path / "run"))
    assert (plain.code, outcome.code) == (0, 0)
    assert (
        "the trained weights were not kept, so the model is as before: the loss on the watched" in outcome.err
    )
    run = run_of(tmp_path / "run")
    assert run["result"]["variant"] == "bridged"
    assert run["healing"]["loss_after"] > run["healing"]["loss_before"]
    first, second = (load_file(tmp_path / n / "model" / "model.safetensors") for n in ("plain", "run"))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(("partial", "--train-head", "--lr", "1e-3"), marks=pytest.mark.slow),
        ("replace", "--lr", "1e-3"),
        pytest.param(
            ("replace", "--distill", "--boundary-loss", "0.5", "--lr", "1e-3"), marks=pytest.mark.slow
        ),
        pytest.param(
            ("lora", "--heal-targets", "ffn", "--no-distill", "--lr", "3e-3"), marks=pytest.mark.slow
        ),
    ],
    ids=" ".join,
)
def test_every_way_of_healing_brings_perplexity_down(trained_model, tmp_path, words):
    outcome = hf_prune(
        str(trained_model), *QUICK, *SHORT, "--heal", *words, "--output", str(tmp_path / "run")
    )
    assert outcome.code == 0
    measured = perplexities(run_of(tmp_path / "run"))
    assert measured["healed"] < measured["bridged"]


@pytest.mark.slow
def test_a_cut_without_a_bridge_is_healed_too_and_at_several_gaps(trained_model, tmp_path):
    words = ("--layers", "1,3", "--bridge", "none", "--heal", "replace", "--lr", "1e-3")
    outcome = hf_prune(str(trained_model), *QUICK[2:], *SHORT, *words, "--output", str(tmp_path / "run"))
    assert outcome.code == 0
    run = run_of(tmp_path / "run")
    measured = perplexities(run)
    assert set(measured) == {"dense", "cut", "healed"}
    assert measured["healed"] < measured["cut"]
    assert run["healing"]["tensors"] == 2 * 9


def test_text_that_the_run_is_measured_on_cannot_be_trained_on(trained_model, tmp_path):
    documents = [f"Document {number} tells of things that happened long ago." for number in range(60)]
    for name, part in (("heal", documents), ("eval", documents[50:])):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in part))
    words = ("--heal-data", str(tmp_path / "heal.jsonl"), "--eval-data", str(tmp_path / "eval.jsonl"))
    outcome = hf_prune(
        str(trained_model), *QUICK, *words, "--heal", "lora", "--output", str(tmp_path / "run")
    )
    assert outcome.code == 1
    shared = "10 documents are both in the healing text heal.jsonl and in the held-out text eval.jsonl"
    assert shared in outcome.error()


def test_documents_that_the_user_measures_on_are_left_out_of_the_built_in_text(trained_model, tmp_path):
    from hf_prune.stages.texts.text import BUILT_IN_HEALING, built_in_text

    documents = built_in_text(BUILT_IN_HEALING).documents[:40]
    own = tmp_path / "own.jsonl"
    own.write_text("\n".join(json.dumps({"text": text}) for text in documents))
    recipe = api.Recipe(model=str(trained_model), eval_data=str(own), heal="lora")
    from hf_prune.stages.original import locate

    assert len(locate(recipe).material.healing_text.documents) == 760


@pytest.mark.slow
def test_a_model_heals_on_its_own_answers(trained_model, tmp_path):
    chatting = shutil.copytree(trained_model, tmp_path / "chat")
    (chatting / "chat_template.jinja").write_text(TEMPLATE)
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("\n".join(json.dumps({"prompt": f"Tell me of {n}."}) for n in range(40)))
    words = ("--heal", "lora", "--lr", "3e-3", "--heal-data", "self", "--prompts", str(prompts))
    outcome = hf_prune(str(chatting), *QUICK, *words, "--output", str(tmp_path / "run"))
    assert outcome.code == 0, outcome.err
    healing = run_of(tmp_path / "run")["healing"]
    assert healing["text"]["name"] == "answers to prompts.jsonl"
    assert healing["kept"]


def test_a_tracker_that_is_not_there_is_said_before_anything_is_done(trained_model, tmp_path):
    words = ("--heal", "lora", "--report-to", "nowhere")
    outcome = hf_prune(str(trained_model), *QUICK, *words, "--output", str(tmp_path / "run"))
    assert outcome.code == 2
    assert outcome.error().startswith("hf-prune: --report-to nowhere is not available here")
    assert not (tmp_path / "run").exists()
