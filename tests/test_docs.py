"""The documents say what the code does; what they show can be run."""

import dataclasses
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hf_prune.cli.main import cli
from hf_prune.recipe.criteria import CRITERIA
from hf_prune.recipe.files import parse_recipe_file
from hf_prune.records import Evaluated, Healing, HealingPlan, Presentation
from hf_prune.stages.card.card import render_card
from hf_prune.stages.card.own_words import check_template
from hf_prune.stages.run import Analysis, Evaluation, Run
from tests.support.checkout import ROOT
from tests.support.plain import plain_logits
from tests.support.sample_run import sample_run

PACKAGE = ROOT / "hf_prune"
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
OF_OTHERS = {  # options of pip, uv, lm_eval and pytest
    *("--upgrade", "--no-deps", "--no-config", "--python", "--from"),
    *("--model", "--model_args"),
    "--update-golden",
}

# What stands before `-m hf_prune` is the launcher's own.
LAUNCHED = re.compile(r"(torchrun|accelerate launch)\b([^\n]*(?:\\\n[^\n]*)*?)-m hf_prune")


def test_every_field_of_a_run_is_documented():
    documented = set(re.findall(r"`(\w+)`", (ROOT / "docs" / "run_folder.md").read_text()))
    for record in (Run, Evaluated, Analysis, Evaluation):
        assert {field.name for field in dataclasses.fields(record)} <= documented


def test_every_field_of_a_healing_is_documented():
    section = (ROOT / "docs" / "run_folder.md").read_text().split("`healing` holds")[1].split("\n## ")[0]
    documented = set(re.findall(r"`([\w.]+)`", section))
    names = {field.name for field in dataclasses.fields(Healing)} - {"plan"}
    assert names | {f"plan.{field.name}" for field in dataclasses.fields(HealingPlan)} <= documented


def test_every_criterion_is_documented_with_its_paper():
    text = (ROOT / "docs" / "choosing.md").read_text()
    rows = {row.split("`")[1]: row for row in text.splitlines() if row.startswith("| `")}
    rows = {name: row for name, row in rows.items() if not name.startswith("--")}
    assert rows.keys() == CRITERIA.keys()
    assert all(criterion.paper in rows[name] for name, criterion in CRITERIA.items())


def test_ci_runs_the_test_command_of_the_readme():
    section = (ROOT / "README.md").read_text().split("<!-- tests -->")[1].split("<!-- /tests -->")[0]
    commands = re.findall(r"^python3 .*$", section, re.MULTILINE)
    assert commands == ["python3 -m pip install uv && python3 -m uv run pytest"]
    assert "/<!-- tests -->/,/<!-- \\/tests -->/p" in (ROOT / ".ci" / "run").read_text()


def headings(document: Path) -> set[str]:
    """Of a page, as they are linked to."""
    lines = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in lines}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_local_links_lead_somewhere(document):
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)", document.read_text())
    assert [path for path, _ in links if not (document.parent / path).exists()] == []
    anchors = [(document.parent / path if path else document, anchor) for path, anchor in links if anchor]
    assert [anchor for path, anchor in anchors if anchor not in headings(path)] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_option_that_is_named_exists(document):
    known = {name for command in cli.commands.values() for p in command.params for name in p.opts}
    known |= {name for command in cli.commands.values() for p in command.params for name in p.secondary_opts}
    known |= {"--help", "--version", *OF_OTHERS}
    text = LAUNCHED.sub("", document.read_text())
    named = set(re.findall(r"(?<![\w-])--[a-z][\w-]+", text))
    assert named - known == set()


def test_the_index_has_every_page():
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    linked = set(re.findall(r"\]\(([\w.]+)\)", (ROOT / "docs" / "README.md").read_text()))
    assert pages - linked == set()


def test_the_files_that_contributors_are_sent_to_are_there():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    named = {path for path in re.findall(r"`([\w./]+)`", text) if "/" in path}
    assert [path for path in named if not (ROOT / path).exists() and not (PACKAGE / path).exists()] == []


def test_contributors_find_every_room_and_every_stage_in_the_map():
    text = (ROOT / "CONTRIBUTING.md").read_text().split("## The rooms")[1].split("\n## ")[0]
    rooms = {path.name for path in PACKAGE.iterdir() if not path.name.startswith(("__", "."))}
    assert {room.rstrip("/") for room in re.findall(r"^\| `([\w./]+)` \|", text, re.MULTILINE)} >= rooms
    stages = {path.name for path in (PACKAGE / "stages").iterdir() if (path / "__init__.py").exists()}
    assert stages <= set(re.findall(r"`(\w+)`", text))
    assert len(re.findall(r"^\| `", text, re.MULTILINE)) == 12


def test_the_recipe_that_is_shown_can_be_followed():
    text = (ROOT / "docs" / "recipes.md").read_text()
    shown = text.split("<!-- recipe -->\n```yaml\n")[1].split("```\n<!-- /recipe -->")[0]
    file = parse_recipe_file(shown, "mine.yaml")
    assert file.options["lr"] == 3e-4
    assert file.cited is not None


def test_the_template_that_is_shown_can_be_used_and_all_blocks_are_named():
    text = (ROOT / "docs" / "card.md").read_text()
    shown = text.split("<!-- template -->\n```jinja\n")[1].split("```\n<!-- /template -->")[0]
    check_template(shown, "shown")
    run = replace(sample_run(), presentation=Presentation(template_name="shown", template=shown))
    card = render_card(run)
    assert "Made for the readers of the sea archive." in card
    assert "- Its 22 layers were never tried on Portuguese." in card
    named = re.findall(r"`(\w+)`", text.split("in the order of the card: ")[1].split(". `run` has")[0])
    template = (ROOT / "templates" / "model_card.md.j2").read_text()
    assert named == re.findall(r"{% block (\w+) %}", template)


def test_every_option_of_a_launcher_that_is_named_exists():
    from accelerate.commands.launch import launch_command_parser
    from torch.distributed.run import get_args_parser

    parsers = {"torchrun": get_args_parser(), "accelerate launch": launch_command_parser()}
    commands = LAUNCHED.findall((ROOT / "docs" / "distributed.md").read_text())
    assert {launcher for launcher, _ in commands} == parsers.keys()
    for launcher, words in commands:
        assert set(re.findall(r"--[\w-]+", words)) <= parsers[launcher]._option_string_actions.keys()


def test_accelerate_knows_every_setting_of_the_file_for_fsdp():
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import launch_command_parser

    settings = load_config_from_file(str(ROOT / "docs" / "fsdp.yaml"))
    known = launch_command_parser()._option_string_actions.keys()
    assert {f"--{name}" for name in settings.fsdp_config} <= known


@pytest.fixture
def early_exit(tiny_models, capsys):
    """What the code of docs/early_exit.md leaves behind when it has run on a tiny model of six layers."""
    text = (ROOT / "docs" / "early_exit.md").read_text()
    [code] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    for name, value in (("model_id", str(tiny_models("llama"))), ("thresholds", {2: 0.3, 4: 0.2})):
        code, changed = re.subn(rf"^{name} = .*$", f"{name} = {value!r}", code, flags=re.MULTILINE)
        assert changed == 1
    names = {}
    exec(compile(code, "early_exit.md", "exec"), names)
    assert " of 6 layers a token; " in capsys.readouterr().out
    return names


@pytest.mark.parametrize(("threshold", "layers"), [(0.0, 2), (1.1, 6)])
def test_the_early_exit_that_is_shown_goes_by_its_thresholds(early_exit, threshold, layers):
    _, used, agreement = early_exit["write"]("The sea is", 4, {2: threshold, 4: threshold})
    assert used == layers
    assert agreement == 1 or layers < 6


@pytest.mark.parametrize("depth", [2, 5])
def test_the_early_exit_that_is_shown_is_what_the_first_layers_say(early_exit, depth):
    model, ids = early_exit["model"], torch.tensor([[5, 17, 300, 42]])
    logits = plain_logits(model, ids, kept=tuple(range(depth)))[0, -1]
    sure = logits.softmax(-1).max().item()
    all_layers = plain_logits(model, ids)[0, -1].argmax()
    assert early_exit["next_token"](ids, {depth: sure - 1e-4}) == (logits.argmax(), depth, all_layers)
    assert early_exit["next_token"](ids, {depth: sure + 1e-4}) == (all_layers, 6, all_layers)
