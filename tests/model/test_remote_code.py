"""Models that bring their own code: run where the user says so by name, and nowhere else."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from huggingface_hub import HfApi, ModelCard
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from hf_prune.errors import UnsupportedModel
from hf_prune.model.model_class import auto_class
from hf_prune.model.skeleton import build_skeleton
from hf_prune.recipe.recipe import Recipe
from hf_prune.recipe.words import analysis_command_line
from hf_prune.stages.original import locate, open_original
from hf_prune.stages.source.companions import companion_files
from hf_prune.stages.source.find import fetch_weights, find
from tests.loopback import LoopbackHub
from tests.stages.source.test_pickles import pickled_copy, tensors_of, without_layers_2_and_3
from tests.support.tool import FEW, hf_prune, times_of

TinyModels = Callable[..., Path]
CUT = ("--layers", "2-3", *FEW)
TRUST = "--trust-remote-code"
CODE = {
    "configuration_mine.py": """
from pathlib import Path

from transformers import LlamaConfig

Path(TRACE).touch()


class MineConfig(LlamaConfig):
    model_type = "mine"
""",
    "modeling_mine.py": """
from pathlib import Path

from transformers import LlamaForCausalLM

from .configuration_mine import MineConfig
from .twice import twice

Path(TRACE).touch()


class MineForCausalLM(LlamaForCausalLM):
    config_class = MineConfig

    def forward(self, *arguments, **keywords):
        answer = super().forward(*arguments, **keywords)
        answer.logits = twice(answer.logits)
        return answer
""",
    "twice.py": """
def twice(value):
    return 2 * value
""",
    "tokenization_mine.py": """
from pathlib import Path

from transformers import PreTrainedTokenizerFast

Path(TRACE).touch()


class MineTokenizer(PreTrainedTokenizerFast):
    pass
""",
}
AUTO_MAP = {
    "AutoConfig": "configuration_mine.MineConfig",
    "AutoModelForCausalLM": "modeling_mine.MineForCausalLM",
}
NAMED = "configuration_mine.py, modeling_mine.py"


def edit(path: Path, **values: object) -> None:
    """Change fields of a JSON file; None takes one out."""
    content = json.loads(path.read_text()) | values
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))


def with_code(model: Path, target: Path, trace: Path, *, model_type: str = "mine") -> Path:
    """A copy of a tiny Llama that brings its own classes, which touch the file `trace` when imported."""
    shutil.copytree(model, target)
    for name, code in CODE.items():
        (target / name).write_text(code.replace("TRACE", repr(str(trace))))
    said = {"architectures": ["MineForCausalLM"], "_name_or_path": "acme/whose-code-is-not-meant"}
    edit(target / "config.json", model_type=model_type, auto_map=AUTO_MAP, **said)
    return target


def published(hub: LoopbackHub, repo_id: str, folder: Path) -> str:
    """A repository on the Hub with a folder's files."""
    HfApi().create_repo(repo_id)
    HfApi().upload_folder(repo_id=repo_id, folder_path=folder)
    hub.calls.clear()
    return repo_id


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """A file that exists once the model's code has been run."""
    return tmp_path / "was_run"


@pytest.fixture
def mine(tiny_models: TinyModels, tmp_path: Path, trace: Path) -> Path:
    """A model with its own code."""
    return with_code(tiny_models("llama"), tmp_path / "mine", trace)


# Without leave


@pytest.mark.parametrize("command", [(), ("analyze",)])
def test_without_the_option_it_is_named_and_the_code_not_run(
    mine: Path, trace: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    outcome = hf_prune(*command, str(mine), "--output", str(tmp_path / "run"))
    assert outcome.code == 1
    assert outcome.error() == (
        f"hf-prune: the model brings its own code ({NAMED}), which would be run on this machine: read it, "
        f"and add --trust-remote-code if you trust it"
    )
    assert not trace.exists()


def test_without_the_option_nothing_of_it_is_fetched(
    home_hub: LoopbackHub, mine: Path, trace: Path, tmp_path: Path
) -> None:
    repo_id = published(home_hub, "tester/refused", mine)
    outcome = hf_prune(repo_id, "--output", str(tmp_path / "run"))
    assert f"brings its own code ({NAMED})" in outcome.error()
    assert home_hub.calls_to("GET", ".py") == []
    assert home_hub.calls_to("GET", "/storage/") == []
    assert not trace.exists()


def test_code_of_another_repository_is_named_with_it(mine: Path) -> None:
    edit(mine / "config.json", auto_map={"AutoConfig": "acme/code--configuration_mine.MineConfig"})
    with pytest.raises(
        UnsupportedModel, match=r"\(configuration_mine\.py of acme/code\), which would be run"
    ):
        build_skeleton(mine)


def test_a_type_that_transformers_knows_is_loaded_by_its_own_class(
    tiny_models: TinyModels, trace: Path, tmp_path: Path
) -> None:
    folder = with_code(tiny_models("llama"), tmp_path / "known", trace, model_type="llama")
    assert type(build_skeleton(folder).model) is LlamaForCausalLM
    told = json.loads(hf_prune(str(folder), *CUT, "--dry-run", "--json").out)
    assert told["parameters"] > 0
    assert not trace.exists()


def test_a_tokenizer_with_its_own_code_needs_the_option_too(
    tiny_models: TinyModels, trace: Path, tmp_path: Path
) -> None:
    folder = with_code(tiny_models("llama"), tmp_path / "tokenizer", trace, model_type="llama")
    edit(folder / "config.json", auto_map=None)
    named = {"AutoTokenizer": [None, "tokenization_mine.MineTokenizer"]}
    edit(folder / "tokenizer_config.json", auto_map=named, tokenizer_class="MineTokenizer")
    words = (str(folder), *CUT, "--bridge", "none", "--output", str(tmp_path / "run"))
    assert "brings its own code (tokenization_mine.py)" in hf_prune(*words).error()
    assert not trace.exists()
    original = open_original(locate(Recipe(model=str(folder), trust_remote_code=True)), tmp_path / "work")
    assert len(original.heldout.ids) > 0
    assert trace.exists()


# With leave


def loads_as_published(repo_or_folder: str, tokens: list[int]) -> torch.Tensor:
    """Greedy tokens of a result, as a user of transformers loads it."""
    model = AutoModelForCausalLM.from_pretrained(repo_or_folder, trust_remote_code=True)
    assert type(model).__name__ == "MineForCausalLM"
    assert AutoTokenizer.from_pretrained(repo_or_folder, trust_remote_code=True)("Good day")["input_ids"]
    prompt = torch.tensor([tokens])
    settings = {"do_sample": False, "max_new_tokens": 8, "pad_token_id": 0}
    decoded: torch.Tensor = model.generate(prompt, attention_mask=torch.ones_like(prompt), **settings)
    assert decoded.shape == (1, len(tokens) + 8)
    return decoded


def test_with_the_option_a_folder_is_cut_proved_and_measured(
    mine: Path, trace: Path, tiny_models: TinyModels, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = (str(mine), TRUST, *CUT, "--bridge", "none", "--output", str(run))
    outcome = hf_prune(*words)
    assert outcome.code == 0, outcome.err
    assert trace.exists()
    written = run / "model"
    assert tensors_of(written) == without_layers_2_and_3(tensors_of(tiny_models("llama")))
    for name in CODE:
        assert (written / name).read_bytes() == (mine / name).read_bytes()
    told = json.loads((run / "run.json").read_text())
    assert told["recipe"]["trust_remote_code"]
    assert told["source"]["own_code"] == NAMED.split(", ")
    assert told["dense"]["architecture"] == "MineForCausalLM"
    assert told["evaluated"]["speeds"]["reason"] is None
    assert len(told["proofs"][0]["checks"]) == 3
    card = ModelCard.load(written / "README.md").content
    assert f"hf-prune mine {TRUST} --layers 2-3" in card
    assert "its own code, the original's byte for byte: `configuration_mine.py`, `modeling_mine.py`." in card
    assert card.count(", trust_remote_code=True)") == 3
    assert "no custom code" not in card
    loads_as_published(str(written), [5, 6, 7])
    before = times_of(run / "stages")
    assert hf_prune(*words).code == 0
    after = times_of(run / "stages")
    del before["recipe.json"], after["recipe.json"]  # claimed anew, with the same content
    assert after == before


@pytest.mark.slow
def test_from_the_hub_it_is_fetched_cut_bridged_published_and_loads(
    home_hub: LoopbackHub, mine: Path, tmp_path: Path
) -> None:
    (mine / "training_args.bin").write_bytes(b"not needed")
    repo_id = published(home_hub, "tester/mine", mine)
    words = (repo_id, TRUST, *CUT, "--bridge", "refit", "--push", "--output", str(tmp_path / "run"))
    outcome = hf_prune(*words)
    assert outcome.code == 0, outcome.err
    assert home_hub.calls_to("GET", "training_args.bin") == []
    assert set(CODE) <= set(HfApi().list_repo_files("tester/mine-4L"))
    here = loads_as_published("tester/mine-4L", [5, 6, 7])
    assert torch.equal(here, loads_as_published(str(tmp_path / "run" / "model"), [5, 6, 7]))


def test_the_commands_and_a_dry_run_take_the_option(mine: Path) -> None:
    assert json.loads(hf_prune(str(mine), TRUST, "--dry-run", "--json").out)["parameters"] > 0
    recipe = Recipe(model="mine", trust_remote_code=True)
    assert analysis_command_line(recipe, 0) == f"hf-prune analyze mine {TRUST}"


def test_pickled_weights_and_own_code_go_together(mine: Path, tmp_path: Path) -> None:
    pickled = str(pickled_copy(mine, tmp_path / "pickled"))
    with pytest.raises(UnsupportedModel, match="brings its own code"):
        fetch_weights(find(pickled, None, None, allow_pickle=True), tmp_path / "work")
    found = find(pickled, None, None, allow_pickle=True, trust_remote_code=True)
    source = fetch_weights(found, tmp_path / "work")
    assert source.own_code == tuple(NAMED.split(", "))
    assert build_skeleton(Path(source.folder), trust_remote_code=True).num_layers == 6


def test_a_known_type_is_then_loaded_by_its_own_code(
    tiny_models: TinyModels, trace: Path, tmp_path: Path
) -> None:
    folder = with_code(tiny_models("llama"), tmp_path / "known", trace, model_type="llama")
    code = (folder / "configuration_mine.py").read_text()
    (folder / "configuration_mine.py").write_text(code.replace('"mine"', '"llama"'))
    trusted = build_skeleton(folder, trust_remote_code=True)
    assert type(trusted.model).__name__ == "MineForCausalLM"
    assert auto_class(trusted.whole_config) is AutoModelForCausalLM
    assert type(build_skeleton(folder).model).__name__ == "LlamaForCausalLM"


def test_what_was_measured_with_the_code_is_not_taken_for_what_is_without(mine: Path) -> None:
    trusted, other = (find(str(mine), None, None, trust_remote_code=trust) for trust in (True, False))
    assert trusted.identity != other.identity


def test_a_model_without_code_is_as_it_is_without_the_option(tiny_models: TinyModels, tmp_path: Path) -> None:
    source = fetch_weights(find(str(tiny_models("llama")), None, None, trust_remote_code=True), tmp_path)
    assert source.own_code == ()
    assert build_skeleton(Path(source.folder), trust_remote_code=True).num_layers == 6


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("modeling_mine.py", "import not_installed_here", "not_installed_here"),
        ("modeling_mine.py", "raise RuntimeError('of 1999')", "of 1999"),
        ("configuration_mine.py", "MineConfig = 1 / 0", "division by zero"),
    ],
)
def test_code_that_cannot_be_run_is_refused_in_one_line(mine: Path, name: str, code: str, said: str) -> None:
    (mine / name).write_text(code)
    with pytest.raises(
        UnsupportedModel, match=rf"own code \({NAMED}\) cannot be run here: .*{said}"
    ) as caught:
        build_skeleton(mine, trust_remote_code=True)
    assert "\n" not in str(caught.value)


def test_code_is_copied_along_only_with_the_option(mine: Path) -> None:
    (mine / "tokenizer.py").write_text("")
    names = {path.name for path in companion_files(mine)}
    assert not [name for name in names if name.endswith(".py")]
    assert {path.name for path in companion_files(mine, code=True)} - names == {*CODE, "tokenizer.py"}
