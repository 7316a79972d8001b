"""The whole way: from a model on the Hub to a smaller one beside it, loaded as its users load it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from huggingface_hub import HfApi, ModelCard
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoTokenizer, pipeline

import hf_prune as api
from tests.loopback import LoopbackHub
from tests.support.families import build
from tests.support.models import small_tokenizer, write_tiny_gguf
from tests.support.tool import BASE, FEW, NOT_NEEDED, Finished, bytes_of, finished_push, hf_prune, times_of

TinyModels = Callable[..., Path]
PUBLISHED = "tester/tiny-4L"


@pytest.fixture
def pushed(
    home_hub: LoopbackHub, tiny_models: TinyModels, tmp_path_factory: pytest.TempPathFactory
) -> Finished:
    """`hf-prune acme/tiny --push` was run once; the Hub is as it was right afterwards."""
    finished = finished_push(home_hub, tiny_models("llama"), tmp_path_factory.getbasetemp() / "pushed")
    finished.restore(home_hub)
    return finished


@pytest.fixture
def copied(pushed: Finished, tmp_path: Path) -> Path:
    """The run folder, to be changed."""
    return Path(shutil.copytree(pushed.folder, tmp_path / "run"))


def generates_alike_with_and_without_cache(model_id: str | Path) -> None:
    """What plain transformers makes of a model, by id or folder."""
    tokenizer = AutoTokenizer.from_pretrained(model_id)
    # In bfloat16 the two ways round differently, and of two tokens that are nearly alike another may win.
    model = AutoModelForCausalLM.from_pretrained(model_id, dtype=torch.float32).eval()
    inputs = tokenizer("The sea is", return_tensors="pt")
    settings = {"do_sample": False, "max_new_tokens": 12, "min_new_tokens": 12, "pad_token_id": 0}
    with_cache = model.generate(**inputs, **settings, use_cache=True)
    without = model.generate(**inputs, **settings, use_cache=False)
    assert with_cache.shape[1] == inputs["input_ids"].shape[1] + 12
    assert torch.equal(with_cache, without)


def sha256s(run: dict) -> list[str]:
    return [file["sha256"] for file in run["result"]["weights"]]


# One run, looked at from all sides


def test_the_result_on_stdout_is_exactly_the_address(pushed: Finished, home_hub: LoopbackHub) -> None:
    assert pushed.outcome.code == 0
    assert pushed.outcome.out == f"{home_hub.url}/{PUBLISHED}\n"


def test_the_published_model_loads_by_its_id_and_decodes_alike_with_and_without_cache(
    pushed: Finished,
) -> None:
    assert AutoModelForCausalLM.from_pretrained(PUBLISHED).config.num_hidden_layers == 4
    generates_alike_with_and_without_cache(PUBLISHED)


def test_a_pipeline_by_its_id_writes_what_the_model_does(pushed: Finished) -> None:
    tokenizer = AutoTokenizer.from_pretrained(PUBLISHED)
    settings = {"do_sample": False, "max_new_tokens": 8, "min_new_tokens": 8, "pad_token_id": 0}
    tokens = AutoModelForCausalLM.from_pretrained(PUBLISHED).generate(
        **tokenizer("The sea is", return_tensors="pt"), **settings
    )
    (written,) = pipeline("text-generation", model=PUBLISHED)("The sea is", **settings)
    assert written["generated_text"] == tokenizer.decode(tokens[0], skip_special_tokens=True)


def test_the_published_card_says_what_the_run_measured(pushed: Finished) -> None:
    data = ModelCard.load(PUBLISHED).data
    published = pushed.run["result"]["variant"]
    evaluated = pushed.run["evaluated"]
    (measured,) = [p["perplexity"] for p in evaluated["perplexities"] if p["variant"] == published]
    (chosen,) = [c["accuracy"] for c in pushed.run["evaluated"]["choices"] if c["variant"] == published]
    assert (data.base_model, data.license, data.language) == (BASE, "apache-2.0", ["en"])
    told = [(result.metric_type, result.metric_value) for result in data.eval_results]
    assert told[:2] == [("perplexity", measured), ("accuracy", chosen)]


def test_what_is_published_is_the_model_folder_to_the_byte(pushed: Finished, home_hub: LoopbackHub) -> None:
    files = home_hub.files(PUBLISHED)
    del files[".gitattributes"]  # the Hub's own
    assert files == bytes_of(pushed.folder / "model")
    assert files["hf_prune.json"] == (pushed.folder / "run.json").read_bytes()


def test_weights_card_and_pictures_appear_in_one_commit(pushed: Finished, home_hub: LoopbackHub) -> None:
    repository = home_hub.repositories["model", PUBLISHED.lower()]
    newest, first = repository.history(repository.find("main"))
    assert set(first.files) == {".gitattributes"}
    assert {"README.md", "model.safetensors", "config.json", "tokenizer.json"} <= set(newest.files)


def test_the_published_repository_is_private_unless_asked_otherwise(
    pushed: Finished, copied: Path, home_hub: LoopbackHub
) -> None:
    assert home_hub.repositories["model", PUBLISHED.lower()].private
    outcome = hf_prune(*pushed.words, "--output", str(copied), "--repo-id", "acme/open", "--public")
    assert outcome.out == f"{home_hub.url}/acme/open\n"
    assert not home_hub.repositories["model", "acme/open"].private
    assert 'model_id = "acme/open"' in home_hub.files("acme/open")["README.md"].decode()


def test_only_the_files_that_are_needed_are_fetched_and_each_once(pushed: Finished) -> None:
    fetched = [call.path for call in pushed.calls if call.method == "GET" and "/resolve/" in call.path]
    names = [path.split("/resolve/")[1].partition("/")[2] for path in fetched]
    assert sorted(names) == sorted(set(names))
    assert set(names) == {
        "README.md",
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert set(names) & set(NOT_NEEDED) == {"README.md"}  # for the cache, and whoever reads it offline
    weights = [call for call in pushed.calls if call.method == "GET" and "/storage/" in call.path]
    assert len(weights) == 1


def test_the_same_command_again_computes_nothing_and_pushes_nothing(
    pushed: Finished, copied: Path, home_hub: LoopbackHub
) -> None:
    before = times_of(copied / "stages"), bytes_of(copied)
    again = hf_prune(*pushed.words, "--output", str(copied))
    assert again.out == pushed.outcome.out
    after = times_of(copied / "stages"), bytes_of(copied)
    del before[0]["recipe.json"], after[0]["recipe.json"]  # claimed anew, with the same content
    assert after == before
    assert home_hub.calls_to("POST", "/commit/") == []
    assert home_hub.calls_to("PUT") == []


def test_another_template_rewrites_the_card_of_a_finished_run_and_computes_nothing(
    pushed: Finished, copied: Path, tmp_path: Path
) -> None:
    template, notes = tmp_path / "ours.md.j2", tmp_path / "notes.md"
    template.write_text(
        '{% extends "model_card.md.j2" %}{% block title %}# {{ run.name }}, ours\n\n{% endblock %}'
    )
    notes.write_text("Made for the archive.")
    own = ("--template", str(template), "--notes", str(notes))
    stage = times_of(copied / "stages")["run.json"]
    card = copied / "model" / "README.md"
    assert hf_prune(*pushed.words, "--output", str(copied), *own).code == 0
    assert "\n# tiny-4L, ours\n" in card.read_text()
    assert "\n## Notes\n\nMade for the archive.\n" in card.read_text()
    recorded = json.loads((copied / "run.json").read_text())
    assert recorded["presentation"]["template"] == template.read_text()
    assert recorded == json.loads((copied / "model" / "hf_prune.json").read_text())
    assert hf_prune(*pushed.words, "--output", str(copied)).code == 0
    assert ", ours" not in card.read_text()
    assert times_of(copied / "stages")["run.json"] == stage


def test_json_is_one_document_on_stdout(pushed: Finished, copied: Path, home_hub: LoopbackHub) -> None:
    outcome = hf_prune(*pushed.words, "--output", str(copied), "--json")
    told = json.loads(outcome.out)
    assert told["run"] == pushed.run
    assert told["model"] == str(copied / "model")
    assert told["published"]["repo_id"] == PUBLISHED
    repository = home_hub.repositories["model", PUBLISHED.lower()]
    assert told["published"]["commit"] == repository.find("main").oid


def test_quiet_says_nothing_but_the_result_and_the_table(pushed: Finished, copied: Path) -> None:
    outcome = hf_prune(*pushed.words, "--output", str(copied), "--quiet")
    assert outcome.code == 0
    assert "publishing" not in outcome.err
    assert "publishing" in pushed.outcome.err


def test_the_token_is_in_nothing_that_is_written_or_said(pushed: Finished, home_hub: LoopbackHub) -> None:
    assert "hf_test" not in pushed.outcome.out + pushed.outcome.err
    for name, content in (bytes_of(pushed.folder) | home_hub.files(PUBLISHED)).items():
        assert b"hf_test" not in content, name


def test_every_variant_is_asked_the_same_items_and_compared_with_the_original(pushed: Finished) -> None:
    dense, *shorter = pushed.run["evaluated"]["choices"]
    perplexities = pushed.run["evaluated"]["perplexities"]
    assert [c["variant"] for c in (dense, *shorter)] == [p["variant"] for p in perplexities]
    assert (dense["name"], dense["num_items"], dense["chance"]) == ("c4_heldout", 4, 0.25)
    assert (dense["agreement"], dense["stability"]) == (None, None)
    for choices in shorter:
        assert choices["sha256"] == dense["sha256"]
        assert 0 <= choices["stability"] <= 1
        assert 4 * choices["agreement"] in range(5)
    assert "Accuracy, continuations of held-out text (4 items)" in ModelCard.load(PUBLISHED).text


def test_what_is_published_holds_what_its_card_claims(pushed: Finished, home_hub: LoopbackHub) -> None:
    outcome = hf_prune("verify", PUBLISHED, "--json")
    assert outcome.code == 0, outcome.err
    told = json.loads(outcome.out)
    assert told["holds"] is True
    assert told["commit"] == home_hub.repositories["model", PUBLISHED.lower()].find("main").oid
    not_checked = {claim["name"] for claim in told["claims"] if claim["holds"] is None}
    assert not_checked == {"accuracy, cut", "speed and memory", "writing"}
    refused = hf_prune("verify", BASE).error()
    assert refused.startswith(f"hf-prune: {BASE} was not made by hf-prune: it has no hf_prune.json")


def test_a_finished_run_is_published_later(pushed: Finished, copied: Path, home_hub: LoopbackHub) -> None:
    del home_hub.repositories["model", PUBLISHED.lower()]
    outcome = hf_prune("push", str(copied))
    assert outcome.out == f"{home_hub.url}/{PUBLISHED}\n"
    files = home_hub.files(PUBLISHED)
    del files[".gitattributes"]
    assert files == bytes_of(pushed.folder / "model")
    assert home_hub.repositories["model", PUBLISHED.lower()].private


def test_a_later_push_overwrites_no_foreign_repository(
    pushed: Finished, copied: Path, home_hub: LoopbackHub
) -> None:
    outcome = hf_prune("push", str(copied), "--repo-id", BASE)
    assert f"{BASE} exists and was not made by hf-prune" in outcome.error()
    alone = shutil.move(copied / "model", copied.parent / "alone")
    assert "give the run folder itself" in hf_prune("push", str(alone)).error()


# Runs of their own


@pytest.mark.slow
def test_a_file_of_items_is_asked_and_its_folder_is_not_told(trained_model: Path, tmp_path: Path) -> None:
    asked = tmp_path / "secret" / "own.jsonl"
    asked.parent.mkdir()
    questions = [{"question": f"{n}?", "choices": ["yes", "no", "perhaps"], "answer": 1} for n in range(9)]
    asked.write_text("\n".join(map(json.dumps, questions)))
    words = (str(trained_model), "--drop-layers", "1", "--method", "bi", "--bridge", "none", *FEW)
    outcome = hf_prune(*words, "--choices", str(asked), "--output", str(tmp_path / "run"), "--json")
    run = json.loads(outcome.out)["run"]
    assert [c["variant"] for c in run["evaluated"]["choices"]] == ["dense", "cut"]
    assert {(c["name"], c["num_items"]) for c in run["evaluated"]["choices"]} == {("own.jsonl", 4)}
    assert run["evaluated"]["choices"][0]["chance"] == pytest.approx(1 / 3)
    assert run["recipe"]["choices"] == "own.jsonl"
    assert "secret" not in (tmp_path / "run" / "run.json").read_text()
    without = hf_prune(*words, "--choice-items", "0", "--output", str(tmp_path / "without"), "--json")
    assert json.loads(without.out)["run"]["evaluated"]["choices"] == []
    refused = hf_prune(*words, "--choices", "none.jsonl", "--output", str(tmp_path / "refused"))
    assert refused.error() == "hf-prune: there is no text file none.jsonl"


@pytest.mark.slow
def test_the_python_api_in_another_folder_gives_the_same_layers_and_bytes(
    pushed: Finished, tmp_path: Path
) -> None:
    recipe = api.Recipe(
        model=BASE, drop_layers=2, samples=4, eval_samples=2, sequence_length=32, choice_items=4
    )
    outcome = api.prune(recipe, tmp_path / "another")
    assert outcome.published is None
    assert list(outcome.run.plan.kept) == pushed.run["plan"]["kept"]
    assert [file.sha256 for file in outcome.run.result.weights] == sha256s(pushed.run)
    weights = (outcome.model / "model.safetensors").read_bytes()
    assert weights == (pushed.folder / "model" / "model.safetensors").read_bytes()


@pytest.mark.slow
def test_without_a_bridge_the_cut_of_the_tagged_revision_is_published(
    home_hub: LoopbackHub, tiny_models: TinyModels, tmp_path: Path
) -> None:
    HfApi().create_repo("tester/base")
    HfApi().upload_folder(repo_id="tester/base", folder_path=tiny_models("llama", num_hidden_layers=5))
    tagged = HfApi().repo_info("tester/base").sha
    HfApi().create_tag("tester/base", tag="v1")
    HfApi().upload_folder(repo_id="tester/base", folder_path=tiny_models("llama"))
    words = ("tester/base", "--revision", "v1", "--bridge", "none", "--push", "--drop-layers", "2", *FEW)
    outcome = hf_prune(*words, "--output", str(tmp_path / "run"))
    assert outcome.out == f"{home_hub.url}/tester/base-3L\n"
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (run["result"]["variant"], run["bridge"]["reason"]) == ("cut", "not asked for")
    assert (run["source"]["revision"], run["source"]["commit"]) == ("v1", tagged)
    assert [p["variant"] for p in run["evaluated"]["perplexities"]] == ["dense", "cut"]
    assert (
        ModelCard.load("tester/base-3L").data.eval_results[0].metric_value
        == (run["evaluated"]["perplexities"][1]["perplexity"])
    )
    assert AutoModelForCausalLM.from_pretrained("tester/base-3L").config.num_hidden_layers == 3


@pytest.mark.slow
def test_several_blocks_are_removed_from_a_base_in_many_files(
    home_hub: LoopbackHub, tiny_models: TinyModels, tmp_path: Path
) -> None:
    base = tiny_models("llama", max_shard_size="100KB")
    assert len(list(base.glob("model-*.safetensors"))) > 2
    HfApi().create_repo("tester/sharded")
    HfApi().upload_folder(repo_id="tester/sharded", folder_path=base)
    words = ("tester/sharded", "--push", "--layers", "1,3-4", "--bridge", "refit", *FEW)
    outcome = hf_prune(*words, "--output", str(tmp_path / "run"))
    assert outcome.out == f"{home_hub.url}/tester/sharded-3L\n"
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert run["plan"]["kept"] == [0, 2, 5]
    assert [(b["start"], b["end"]) for b in run["plan"]["blocks"]] == [(1, 2), (3, 5)]
    assert [b["layer"] for b in run["bridge"]["folded"]] == [0, 2]
    assert "model.safetensors.index.json" in home_hub.files("tester/sharded-3L")
    generates_alike_with_and_without_cache("tester/sharded-3L")


@pytest.mark.slow
def test_a_family_without_a_bridge_says_so_and_finishes(tiny_models: TinyModels, tmp_path: Path) -> None:
    words = (str(tiny_models("gemma2")), "--drop-layers", "2", *FEW)
    outcome = hf_prune(*words, "--output", str(tmp_path / "run"))
    assert outcome.code == 0
    assert outcome.out == f"{tmp_path / 'run' / 'model'}\n"
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert run["bridge"]["method"] == "none"
    assert f"bridge: {run['bridge']['reason']}" in outcome.err
    generates_alike_with_and_without_cache(tmp_path / "run" / "model")


@pytest.mark.slow
def test_the_result_is_measured_as_a_draft_of_its_original(tiny_models: TinyModels, tmp_path: Path) -> None:
    words = (str(tiny_models("llama")), "--layers", "2-3", "--bridge", "none", "--draft", *FEW)
    outcome = hf_prune(*words, "--output", str(tmp_path / "run"))
    assert outcome.code == 0, outcome.err
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    (found,) = run["evaluated"]["speculations"]["found"]
    assert run["evaluated"]["speculations"]["reason"] is None
    assert (found["draft"], found["depth"], found["same_text"]) == ("cut", None, True)
    assert (found["prompts"], found["prompt_tokens"]) == (2, 32)
    assert found["proposed_tokens"] > found["accepted_tokens"]
    assert "cut as a draft: " in outcome.err
    assert " --draft" in run["command"]
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert f"| this model | {found['proposed_tokens']} | {found['accepted_tokens']} |" in card


def test_a_draft_is_no_matter_of_a_dry_run(tiny_models: TinyModels, tmp_path: Path) -> None:
    words = (str(tiny_models("llama")), "--draft", "--dry-run", "--output", str(tmp_path / "run"))
    assert hf_prune(*words).code == 0
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("revision", "layers"), [("main", 6), ("v1", 5), ("side", 4), ("commit", 5)])
def test_the_revision_may_be_a_branch_a_tag_or_a_commit(
    home_hub: LoopbackHub, tiny_models: TinyModels, tmp_path: Path, revision: str, layers: int
) -> None:
    hub = HfApi()
    hub.create_repo("tester/base")
    hub.upload_folder(repo_id="tester/base", folder_path=tiny_models("llama", num_hidden_layers=5))
    hub.create_tag("tester/base", tag="v1")
    commit = hub.repo_info("tester/base").sha
    hub.create_branch("tester/base", branch="side")
    four = tiny_models("llama", num_hidden_layers=4)
    hub.upload_folder(repo_id="tester/base", folder_path=four, revision="side")
    hub.upload_folder(repo_id="tester/base", folder_path=tiny_models("llama"))
    asked = commit if revision == "commit" else revision
    # The description alone is fetched before this is refused.
    outcome = hf_prune(
        "tester/base", "--revision", asked, "--layers", "90", "--output", str(tmp_path / "run")
    )
    assert f"the model has {layers} layers" in outcome.error()
    assert outcome.code == 2
    assert home_hub.calls_to("GET", "/storage/") == []


def test_a_gguf_file_on_the_hub_is_pruned(home_hub: LoopbackHub, tmp_path: Path) -> None:
    """A tiny one; the demo's, of a real model, is pruned in test_demo.py."""
    write_tiny_gguf(tmp_path / "tiny.gguf")
    card = b"---\nlicense: apache-2.0\n---\n"
    files = {"tiny.gguf": (tmp_path / "tiny.gguf").read_bytes(), "README.md": card, "LICENSE": b"Free\n"}
    home_hub.add_repository("acme/packed", files)
    words = ("acme/packed", "--gguf-file", "tiny.gguf", "--layers", "2-3", "--push", *FEW)
    outcome = hf_prune(*words, "--output", str(tmp_path / "run"))
    assert outcome.out == f"{home_hub.url}/tester/packed-4L\n"
    data = ModelCard.load("tester/packed-4L").data
    assert (data.base_model, data.license) == ("acme/packed", "apache-2.0")
    assert home_hub.files("tester/packed-4L")["LICENSE"] == files["LICENSE"]
    generates_alike_with_and_without_cache("tester/packed-4L")


@pytest.mark.slow
def test_the_text_decoder_of_a_multimodal_model_is_pruned_and_the_rest_stays(tmp_path: Path) -> None:
    build("llava", tmp_path / "llava")
    small_tokenizer().save_pretrained(tmp_path / "llava")
    words = ("run", str(tmp_path / "llava"), "--layers", "2-3", *FEW, "--output", str(tmp_path / "run"))
    outcome = hf_prune(*words)
    assert outcome.code == 0, outcome.err
    model = tmp_path / "run" / "model"
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert len(run["evaluated"]["speeds"]["found"]) == 2
    variants = [each["variant"] for each in run["evaluated"]["perplexities"]]
    writings = run["evaluated"]["writings"]
    assert [each["variant"] for each in writings["found"]] == variants, writings["reason"]
    assert [each["variant"] for each in run["evaluated"]["perplexities_elsewhere"]] == variants
    assert run["evaluated"]["perplexities_elsewhere"][0]["text"]["name"] == "letters_heldout"
    card = (model / "README.md").read_text()
    assert "model = AutoModelForImageTextToText.from_pretrained(model_id)" in card
    assert ModelCard(card).data.pipeline_tag == "image-text-to-text"
    before, after = (load_file(path / "model.safetensors") for path in (tmp_path / "llava", model))
    towers = [name for name in before if "language_model" not in name]
    assert towers
    assert all(torch.equal(before[name], after[name]) for name in towers)
    loaded = AutoModelForImageTextToText.from_pretrained(model)
    assert loaded.config.text_config.num_hidden_layers == 4
