"""Recipe files: those of papers, the user's own, and the one that a result has beside it."""

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from hf_prune.cli.main import cli
from hf_prune.errors import RecipeError
from hf_prune.recipe.faults import check_recipe
from hf_prune.recipe.files import (
    FIELDS,
    built_in_names,
    built_in_text,
    options_of_builtin,
    parse_recipe_file,
    read_recipe_file,
    recipe_text,
)
from hf_prune.recipe.recipe import OPTIONS, Recipe, option_name
from hf_prune.recipe.words import command_line, merged_options
from hf_prune.records import Citation
from hf_prune.stages.card.card import render_card
from tests.support.checkout import ROOT
from tests.support.recipes import OTHER_VALUES, requested
from tests.support.sample_run import sample_run
from tests.support.tool import hf_prune

PAPERS = {
    "gromov": "2403.17887",
    "shortgpt": "2403.03853",
    "streamline": "2403.19135",
    "reassessing": "2411.15558",
    "shortened-llama": "2402.02834",
    "sleb": "2402.09025",
    "replaceme": "2505.02819",
    "slayer": "2410.02330",
    "sorted": "2309.08968",
}
MINE = Citation(title="Mine", paper="2601.00001", bibtex="@misc{mine,\n  year = {2026}\n}\n")


def said_again(recipe: Recipe, command: str = "run") -> Recipe:
    """The recipe that the printed command asks for."""
    beginning = None if command == "run" else f"hf-prune {command}"
    words = shlex.split(command_line(recipe, beginning, options_of_builtin(recipe)))
    return requested(words[1 if command == "run" else 2 :], command)


# The recipes of papers


@pytest.mark.parametrize("name", PAPERS)
def test_every_recipe_of_a_paper_can_be_met_and_cites_it(name):
    file = read_recipe_file(name)
    check_recipe(Recipe(model="m", based_on=file.name, **file.options))
    assert (file.name, file.cited.paper) == (name, PAPERS[name])
    assert re.match(r"@(article|inproceedings)\{\w+,\n", file.cited.bibtex)
    assert f"{{{file.cited.title}}}" in file.cited.bibtex
    assert PAPERS[name] in file.cited.bibtex
    assert re.search(r"author +=", file.cited.bibtex)
    assert re.search(r"year +=", file.cited.bibtex)


def test_there_is_a_recipe_for_each_paper_and_the_document_has_them_all():
    assert built_in_names() == tuple(sorted(PAPERS))
    rows = re.findall(r"^\| `([\w-]+)` \|.*abs/([\d.]+)\) \|$", (ROOT / "docs/recipes.md").read_text(), re.M)
    assert dict(rows) == PAPERS


@pytest.mark.parametrize("name", PAPERS)
def test_a_recipe_says_first_what_it_does(name):
    assert built_in_text(name).startswith("# ")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("gromov", {"method": "angular", "heal": "qlora", "lr": 3e-4, "heal_tokens": 164_000_000}),
        ("streamline", {"method": "streamline", "heal": "replace", "bridge": "none"}),
        ("reassessing", {"method": "reverse", "heal": "partial", "train_head": True, "lr": 1e-5}),
        ("shortened-llama", {"method": "loss", "rank": 8, "lora_alpha": 16, "distill": False}),
        ("sorted", {"depths": "12,16,20,24"}),
    ],
)
def test_a_recipe_has_the_papers_figures(name, options):
    assert options.items() <= read_recipe_file(name).options.items()


# What is read


def test_values_are_read_as_on_the_command_line():
    text = """options:
      lr: 3e-4
      heal-tokens: 1.5M
      target-memory: 8GiB
      boundary-loss: 1
      protect: 11
      heal: none
      method: bi
      contiguous: no
      seq-len: 64
    """
    assert parse_recipe_file(text, "f").options == {
        "lr": 3e-4,
        "heal_tokens": 1_500_000,
        "target_memory": 8 * 2**30,
        "boundary_loss": 1.0,
        "protect": "11",
        "heal": "none",
        "method": "bi",
        "contiguous": False,
        "sequence_length": 64,
    }


def test_only_options_are_needed_and_then_nothing_is_cited():
    file = parse_recipe_file("options: {}", "mine.yaml")
    assert (file.name, file.options, file.cited) == ("mine.yaml", {}, None)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "options: {ratoi: 0.2}",
            "f.yaml: 'ratoi' is no option of a recipe; there are ratio, drop-layers, .*",
        ),
        ("options: {model: m}", "f.yaml: 'model' is no option of a recipe; there are .*"),
        ("options: {device: cpu}", "f.yaml: 'device' is no option .*"),
        ("options: {trust-remote-code: true}", "f.yaml: 'trust-remote-code' is no option .*"),
        ("options: {heal_tokens: 5M}", "f.yaml: 'heal_tokens' is no option .* heal-tokens, .*"),
        ("options: {7: 5M}", "f.yaml: 7 is no option .*"),
        ("options: {lr: fast}", "f.yaml: lr 'fast' is not a number"),
        ("options: {lr: }", "f.yaml: lr None is not a number"),
        ("options: {lr: true}", "f.yaml: lr True is not a number"),
        ("options: {samples: 2.5}", "f.yaml: samples 2.5 is not a whole number"),
        ("options: {samples: [1, 2]}", r"f.yaml: samples \(list\) is not a whole number"),
        ("options: {heal-tokens: many}", "f.yaml: heal-tokens 'many' is not a quantity like 164M"),
        ("options: {distill: maybe}", "f.yaml: distill 'maybe' is not true or false"),
        ("options: {distill: 1}", "f.yaml: distill 1 is not true or false"),
        ("options: {method: {}}", r"f.yaml: method \(dict\) is not text"),
        ("options: {heal: no}", "f.yaml: heal False is not text"),
        ("options: {method: best}", "f.yaml: --method 'best' is not one of auto, .*"),
        ("options: {ratio: 0.2, drop-layers: 3}", "f.yaml: --ratio and --drop-layers each say .*"),
        (
            "options: {}\ntittle: x",
            "f.yaml: 'tittle' is not one of based-on, title, paper, citation, options",
        ),
        ("options: {}\npaper: 2403.17880", "f.yaml: paper 2403.1788 is not text: put it in quotes"),
        ("ratio: 0.2", 'f.yaml is no recipe: it needs "options:" and below that lines like "ratio: 0.25"'),
        ("options: [ratio]", "f.yaml is no recipe: .*"),
        ("", "f.yaml is no recipe: .*"),
        ("- a", "f.yaml is no recipe: .*"),
        ("options: {}\n a: b: c", "f.yaml, line 2, is not YAML: .*"),
        ("options: !!python/object/apply:os.getcwd []", "f.yaml, line 1, is not YAML: could not .*"),
        ("\x00", "f.yaml is not YAML: .*"),
    ],
    ids=repr,
)
def test_what_no_recipe_can_say_is_refused_in_a_line(text, told):
    with pytest.raises(RecipeError) as caught:
        parse_recipe_file(text, "f.yaml")
    assert re.fullmatch(told, str(caught.value)), caught.value
    assert caught.value.exit_code == 2


def test_a_recipe_that_is_not_there_is_refused_with_those_that_are():
    for words in (("m", "--recipe", "gromow"), ("demo", "--recipe", "gromow")):
        outcome = hf_prune(*words)
        assert outcome.code == 2
        assert (
            "--recipe gromow: there is no such file, and no recipe of that name: gromov," in outcome.error()
        )


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "r.yaml").write_bytes(b"options: {}\xff")
    with pytest.raises(RecipeError, match=r"r\.yaml is not UTF-8 text"):
        read_recipe_file(str(tmp_path / "r.yaml"))


def test_a_recipe_can_say_all_that_is_computed_but_not_of_which_model():
    of_the_model = {"model", "revision", "gguf_file", "allow_pickle", "trust_remote_code", "device"}
    assert set(FIELDS.values()) == set(OPTIONS) - of_the_model - {"based_on"}
    assert all(option_name(name)[2:] in FIELDS for name in FIELDS.values())


# The command that asks again


@pytest.mark.parametrize("command", ["run", "demo"])
@pytest.mark.parametrize(
    "more",
    [
        [],
        ["--drop-layers", "3"],
        ["--bridge", "auto", "--seed", "3"],
        ["--heal", "none"],
        ["--distill"],
        ["--lr", "1e-3", "--method", "bi"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("name", PAPERS)
def test_the_command_asks_for_what_a_recipe_came_to(monkeypatch, name, more, command):
    monkeypatch.setattr("hf_prune.stages.source.demo.demo_model", lambda: (Path("d"), "d.gguf"))
    model = ["m"] if command == "run" else []
    recipe = requested([*model, "--recipe", name, *more], command)
    assert said_again(recipe, command) == recipe


def test_the_command_names_a_recipe_and_says_only_what_differs():
    recipe = requested(["m", "--recipe", "gromov", "--drop-layers", "3"])
    assert (
        command_line(recipe, None, options_of_builtin(recipe)) == "hf-prune m --recipe gromov --drop-layers 3"
    )


def test_the_command_says_all_where_a_recipe_and_what_differs_cannot():
    recipe = Recipe(model="m", based_on="gromov", method="bi")  # no option takes a rank back
    assert options_of_builtin(recipe) == {}
    assert command_line(recipe, None, {}) == "hf-prune m --method bi"
    own = replace(recipe, based_on="mine.yaml")
    assert command_line(own, None, options_of_builtin(own)) == "hf-prune m --method bi"


# What a result has beside it


@pytest.mark.parametrize("name", PAPERS)
def test_the_recipe_of_a_result_asks_for_the_same_again(name, tmp_path):
    file = read_recipe_file(name)
    recipe = Recipe(model="a/b", **merged_options(file.options, {"seed": 5}), based_on=name)
    path = tmp_path / "hf_prune_recipe.yaml"
    path.write_text(recipe_text(recipe, file.cited, "a/b: hf-prune a/b"))
    again = read_recipe_file(str(path))
    assert Recipe(model="a/b", **again.options, based_on=again.name) == recipe
    assert again.cited == file.cited
    assert path.read_text().startswith("# a/b: hf-prune a/b\n")


def test_every_option_survives_the_way_into_a_file_and_back():
    for field in FIELDS.values():
        if field in OTHER_VALUES:
            options = {field: OTHER_VALUES[field]}
            also = (
                {"heal_data": "self"}
                if field == "prompts"
                else {"heal": "partial"}
                if field == "train_head"
                else {"tasks": "arc_easy"}
                if field in ("limit", "fewshot", "tasks_from", "min_score")
                else {}
            )
            recipe = Recipe(model="m", **also, **options)
            again = parse_recipe_file(recipe_text(recipe, None, "c"), "r")
            assert Recipe(model="m", **again.options) == recipe


def test_a_recipe_holds_nothing_of_the_model_and_keeps_its_comment_in_a_line():
    recipe = Recipe(model="secret/model", device="cuda:1", revision="v1", heal="lora")
    text = recipe_text(recipe, MINE, "a\nb\u2028c\x85d")
    first, rest = text.split("\n", 1)
    assert first == "# a b c d"
    assert yaml.safe_load(rest) == {
        "title": "Mine",
        "paper": "2601.00001",
        "citation": MINE.bibtex,
        "options": {"heal": "lora"},
    }
    assert "citation: |\n  @misc{mine,\n    year" in text


@pytest.fixture
def follow_mine(tiny_models, tmp_path, monkeypatch):
    """`follow_mine("Mine")`: run with a file of that title; the model, and the card of the result."""
    monkeypatch.chdir(tmp_path)
    model = str(tiny_models("llama"))

    def get(title):
        Path("mine.yaml").write_text(
            f"title: {title}\npaper: '2601.00001'\ncitation: '@misc{{mine}}'\n"
            "options: {drop-layers: 1, method: bi, bridge: none, samples: 4, eval-samples: 2, seq-len: 32}"
        )
        outcome = hf_prune(model, "--recipe", "mine.yaml", "--layers", "2", "--output", "run")
        assert outcome.code == 0, outcome.err
        return model, Path("run/model/README.md").read_text()

    return get


@pytest.mark.slow
def test_a_run_leaves_its_recipe_and_cites_its_paper(follow_mine, tmp_path):
    model, card = follow_mine("Mine")
    assert "- Recipe: `mine.yaml`, Mine ([2601.00001](https://arxiv.org/abs/2601.00001))\n- Seed" in card
    assert "\n\n@misc{mine}\n```" in card
    assert "--recipe" not in card.split("## How it was made")[1].split("```")[1]
    saved = Path("run/model/hf_prune_recipe.yaml")
    assert str(tmp_path) not in saved.read_text()
    first = requested([model, "--recipe", "mine.yaml", "--layers", "2"])
    assert requested([model, "--recipe", str(saved)]) == first
    assert read_recipe_file(str(saved)).cited == Citation(
        title="Mine", paper="2601.00001", bibtex="@misc{mine}"
    )


@pytest.mark.slow
def test_another_citation_makes_another_card_of_the_same_weights(follow_mine):
    follow_mine("Mine")
    weights = Path("run/model/model.safetensors").read_bytes()
    _, card = follow_mine("Ours")
    assert ", Ours (" in card
    assert Path("run/model/model.safetensors").read_bytes() == weights


# The card


def cited_card(name: str) -> str:
    run = sample_run(Recipe(model="m", based_on=name))
    return render_card(replace(run, cited=read_recipe_file(name).cited)).split("## Citation")[1]


@pytest.mark.parametrize("name", PAPERS)
def test_the_card_cites_the_paper_of_the_recipe_once(name):
    text = cited_card(name)
    file = read_recipe_file(name)
    assert text.count(f"{{{file.cited.title}}}") == 1
    keys = re.findall(r"^@\w+\{(\w+),", text, re.M)
    assert len(keys) == len(set(keys))
    known = name in ("gromov", "shortgpt", "replaceme")  # of which the card tells anyway
    assert ("The last gives the recipe that was followed." in text) == (not known)
    assert len(keys) == (3 if known else 4)


# `hf-prune recipes`


def test_the_recipes_are_listed_with_their_papers_and_options():
    outcome = hf_prune("recipes")
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert [line.partition(":")[0] for line in lines[::2]] == sorted(PAPERS)
    for about, options in zip(lines[::2], lines[1::2], strict=True):
        name = about.partition(":")[0]
        assert about.endswith(f"(https://arxiv.org/abs/{PAPERS[name]})")
        params = cli.commands["run"].make_context("run", ["m", *shlex.split(options)]).params
        assert read_recipe_file(name).options.items() <= params.items()


def test_the_file_of_a_recipe_is_printed_as_it_is():
    assert hf_prune("recipes", "gromov").out == built_in_text("gromov")
    assert "there is no recipe 'mine': gromov, " in hf_prune("recipes", "mine").error()
