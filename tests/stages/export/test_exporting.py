"""Other forms of a model are what their loaders look for, and count only if they compute the same."""

import hashlib
import json
import re
import shutil

import numpy as np
import onnx
import onnxruntime
import pytest

from hf_prune.errors import UnsupportedModel
from hf_prune.machine.own_process import run_module
from hf_prune.machine.progress import silent
from hf_prune.records import Attempt, Export, from_data
from hf_prune.stages.export.comparison import compare, greedy, load_in_float32, model_runner
from hf_prune.stages.export.onnx import graph_runner, optimum_name
from tests.support.checkout import ROOT
from tests.support.tool import FEW, Finished, hf_prune, nothing_changes

DOCUMENT = ROOT / "docs" / "exports.md"
pytestmark = pytest.mark.timeout(900)  # the tracer takes its time where others work too
TOKENS = np.random.default_rng(0).integers(2, 320, (2, 64))
OWN_SPLIT = {"type": "Split", "pattern": {"String": " "}, "behavior": "Isolated", "invert": False}


@pytest.fixture(scope="module")
def exported(tiny_models, tmp_path_factory):
    """A tiny model with its graph beside it, and what came of writing that."""
    folder = tmp_path_factory.mktemp("exported") / "model"
    shutil.copytree(tiny_models("llama", num_hidden_layers=2), folder)
    np.save(folder.parent / "windows.npy", TOKENS)
    words = ["onnx", *map(str, (folder, folder, folder.parent / "windows.npy"))]
    printed, reason = run_module("hf_prune.stages.export.one_form", words, silent, "", 1)
    assert reason is None
    return folder, from_data(Attempt[Export], printed[0])


@pytest.fixture
def published(exported):
    return exported[0]


@pytest.mark.slow
def test_a_graph_counts_when_it_computes_what_the_model_does(exported):
    folder, attempt = exported
    assert attempt.reason is None
    [export] = attempt.found
    assert [check.name for check in export.checks] == [
        "logits of a prompt",
        "logits of a padded batch",
        "logits of a continuation",
        "20 greedy tokens",
    ]
    assert all(check.passed for check in export.checks)
    path = folder / export.path
    assert hashlib.sha256(path.read_bytes()).hexdigest() == export.sha256
    assert 0 <= export.divergence < 1e-6


@pytest.mark.slow
def test_the_graph_has_the_names_and_axes_of_optimum(published):
    graph = onnx.load(published / "onnx/model.onnx", load_external_data=False).graph

    def shapes(values):
        dimensions = {v.name: v.type.tensor_type.shape.dim for v in values}
        return {name: [d.dim_param or d.dim_value for d in dims] for name, dims in dimensions.items()}

    cache = ["batch_size", 2, "past_sequence_length", 8]
    assert shapes(graph.input) == {
        "input_ids": ["batch_size", "sequence_length"],
        "attention_mask": ["batch_size", "total_sequence_length"],
        "position_ids": ["batch_size", "sequence_length"],
        **{f"past_key_values.{layer}.{what}": cache for layer in (0, 1) for what in ("key", "value")},
    }
    assert [v.name for v in graph.output] == [
        "logits",
        *(f"present.{layer}.{what}" for layer in (0, 1) for what in ("key", "value")),
    ]


@pytest.mark.slow
def test_a_graph_with_an_altered_weight_does_not_count(published, tmp_path):
    model = model_runner(load_in_float32(published, trust_remote_code=False))
    checks, _ = compare(graph_runner(published / "onnx/model.onnx"), model, TOKENS)
    assert [check for check in checks if not check.passed] == []
    shutil.copytree(published / "onnx", tmp_path / "onnx")
    path = tmp_path / "onnx/model.onnx"
    graph = onnx.load(path, load_external_data=False).graph
    matrix = max((each for each in graph.initializer if len(each.dims) == 2), key=lambda each: each.dims[1])
    place = next(int(entry.value) for entry in matrix.external_data if entry.key == "offset")
    with (tmp_path / "onnx/model.onnx_data").open("r+b") as file:
        file.seek(place)
        file.write(np.full(8, 3, dtype=np.float32).tobytes())
    checks, _ = compare(graph_runner(path), model, TOKENS)
    assert not checks[0].passed


@pytest.mark.slow
def test_the_code_that_is_shown_runs_the_graph(published, monkeypatch):
    [code] = re.findall(r"```python\n# pip install onnxruntime\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    monkeypatch.chdir(published.parent)
    names = {}
    exec(compile(code, "exports.md", "exec"), names)
    model = model_runner(load_in_float32(published, trust_remote_code=False))
    ids = np.array([[1, 2, 3]])
    assert names["logits"] == pytest.approx(model(ids, np.ones_like(ids), None)[0], abs=1e-4)
    assert len(names["cache"]) == 4


def test_refuses_a_cache_of_more_than_keys_and_values():
    assert optimum_name("output.past_key_values.layers.12.values") == "present.12.value"
    assert optimum_name("input.cache.layers.12.keys") == "past_key_values.12.key"
    with pytest.raises(UnsupportedModel, match="holds more than keys and values"):
        optimum_name("input.past_key_values.layers.0.conv_states")


@pytest.fixture(scope="module")
def finished(tiny_models, tmp_path_factory):
    """A run that was asked for every form, of a model whose tokenizer llama.cpp has no name for."""
    folder = tmp_path_factory.mktemp("finished")
    shutil.copytree(tiny_models("llama", num_hidden_layers=3), folder / "tiny")
    tokenizer = json.loads((folder / "tiny" / "tokenizer.json").read_text())
    steps = [OWN_SPLIT, {**tokenizer["pre_tokenizer"], "use_regex": False}]
    tokenizer["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": steps}
    (folder / "tiny" / "tokenizer.json").write_text(json.dumps(tokenizer))
    few = ("--method", "reverse", "--bridge", "none", "--heal", "none", *FEW)
    asked = ("--format", "onnx,onnx-8bit,gguf", "--max-shard-size", "40kB")
    words = (str(folder / "tiny"), "--drop-layers", "1", *few, *asked)
    outcome = hf_prune(*words, "--output", str(folder / "run"))
    assert outcome.code == 0, outcome.err
    return Finished(words, outcome, folder / "run", {}, ())


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_each_form_lies_where_its_loaders_look_for_it(finished):
    exports = {export["format"]: export for export in finished.run["exports"]["found"]}
    assert {form: export["path"] for form, export in exports.items()} == {
        "onnx": "onnx/model.onnx",
        "onnx-8bit": "onnx/model_quantized.onnx",
    }
    for export in exports.values():
        path = finished.folder / "model" / export["path"]
        data = path.with_name(f"{path.name}_data")
        assert path.stat().st_size + data.stat().st_size == export["size_bytes"]
        assert data.stat().st_mode == path.stat().st_mode
        assert all(check["passed"] for check in export["checks"])
    assert exports["onnx"]["divergence"] < 1e-6 < exports["onnx-8bit"]["divergence"] < 0.1


@pytest.mark.slow
def test_what_cannot_be_exported_is_left_out_and_told(finished):
    told = (
        "gguf: UnsupportedModel: its tokenizer splits text in a way that hf-prune cannot name for llama.cpp"
    )
    assert told in finished.run["exports"]["reason"]
    assert f"not exported to {told}" in finished.outcome.err
    assert not list((finished.folder / "model").glob("*.gguf"))


@pytest.mark.slow
def test_the_published_weights_are_divided_as_asked(finished):
    published = finished.folder / "model"
    files = {path.name for path in published.glob("*.safetensors")}
    assert files == {file["name"] for file in finished.run["result"]["weights"]}
    assert len(files) > 1
    assert load_in_float32(published, trust_remote_code=False).config.num_hidden_layers == 2


@pytest.mark.slow
def test_a_finished_run_exports_nothing_again(finished):
    with nothing_changes(finished.folder / "model"):
        again = hf_prune(*finished.words, "--output", str(finished.folder))
    assert again.code == 0


@pytest.mark.slow
def test_the_options_are_in_the_command_that_makes_the_run_again(finished):
    assert "--format onnx,onnx-8bit,gguf --max-shard-size 40000" in finished.run["command"]


@pytest.mark.long
@pytest.mark.timeout(3000)
def test_the_pruned_real_model_writes_the_same_tokens_under_onnxruntime(real_model, tmp_path):
    few = ("--samples", "4", "--eval-samples", "2", "--choice-items", "0", "--seq-len", "64")
    words = (str(real_model), "--layers", "13-18", "--bridge", "none", "--heal", "none", *few)
    outcome = hf_prune(*words, "--format", "onnx,onnx-8bit,gguf", "--output", str(tmp_path / "run"))
    assert outcome.code == 0, outcome.err
    published = tmp_path / "run" / "model"
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert [export["format"] for export in run["exports"]["found"]] == ["onnx", "onnx-8bit", "gguf"]
    assert (published / "model.gguf").is_file()
    assert run["exports"]["found"][1]["divergence"] < 0.02
    prompt = np.array([[504, 3575, 282, 4649, 314]])
    model = model_runner(load_in_float32(published, trust_remote_code=False))
    assert greedy(graph_runner(published / "onnx/model.onnx"), prompt) == greedy(model, prompt)
    assert onnxruntime.__version__ in run["exports"]["found"][0]["versions"]
