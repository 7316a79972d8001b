"""What those who load a published model do with it, by its id, in a process of their own."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.loopback import LoopbackHub
from tests.support.checkout import ROOT
from tests.support.tool import FEW, Finished, finished_push, hf_prune

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]  # what is quick is in test_pipeline.py

PUBLISHED = "tester/tiny-4L"
IDS = [5, 17, 300, 42]
OPTIMUM = (  # as benchmarks/optimum_loads.py has them
    "optimum-onnx[onnxruntime]==0.1.0",
    "optimum==2.1.0",
    "transformers==4.57.6",
    "huggingface_hub==0.36.2",
    "torch==2.15.0",
    "onnxruntime==1.31.1",
)

WITH_AN_ADAPTER = """
import json, sys
import torch
from peft import AutoPeftModelForCausalLM, LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

base_id, adapter_id = sys.argv[1:]
torch.manual_seed(0)
ids = torch.tensor([[5, 17, 300, 42, 7, 7, 9]])
model = get_peft_model(AutoModelForCausalLM.from_pretrained(base_id), LoraConfig(task_type="CAUSAL_LM"))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
losses = []
for _ in range(3):
    loss = model(input_ids=ids, labels=ids).loss
    losses.append(loss.item())
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
trained = model.eval()(input_ids=ids).logits
model.push_to_hub(adapter_id, private=True)

again = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base_id), adapter_id).eval()
found = AutoPeftModelForCausalLM.from_pretrained(adapter_id).eval()  # which goes by the base that it names
written = found.generate(input_ids=ids, do_sample=False, max_new_tokens=4, min_new_tokens=4)
with again.disable_adapter():
    plain = again(input_ids=ids).logits
print(json.dumps({
    "losses": losses,
    "learnt": (trained - plain).abs().max().item(),
    "base": again.peft_config["default"].base_model_name_or_path,
    "apart": max((other(input_ids=ids).logits - trained).abs().max().item() for other in (again, found)),
    "written": written.shape[1] - ids.shape[1],
}))
"""
IN_THE_HARNESS = """
import json, sys
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager

found = simple_evaluate(
    model="hf", model_args={"pretrained": sys.argv[1]}, device="cpu", tasks=["own_choices"], limit=4,
    task_manager=TaskManager(include_path="tests/support/tasks", include_defaults=False), bootstrap_iters=0,
)
figures, items = found["results"]["own_choices"], found["n-samples"]["own_choices"]
print(json.dumps({"acc": figures["acc,none"], "items": items}))
"""
UNDER_ONNXRUNTIME = """
import json, sys
import numpy as np, onnxruntime
from huggingface_hub import snapshot_download

folder = snapshot_download(sys.argv[1], allow_patterns="onnx/*")
session = onnxruntime.InferenceSession(f"{folder}/onnx/model.onnx")
names = [each.name for each in session.get_outputs()]
empty = {
    each.name: np.zeros((1, each.shape[1], 0, each.shape[3]), np.float32)
    for each in session.get_inputs() if each.name.startswith("past_key_values.")
}
ids, cache, written = np.array([json.loads(sys.argv[2])]), empty, []
length = ids.shape[1]
for _ in range(8):
    feed = {"input_ids": ids, "attention_mask": np.ones((1, length), np.int64),
            "position_ids": np.arange(length - ids.shape[1], length)[None], **cache}
    logits, *present = session.run(None, feed)
    cache = dict(zip(empty, present))
    assert [name.replace("present", "past_key_values") for name in names[1:]] == list(cache)
    ids = logits[:, -1:].argmax(-1)
    length += 1
    written.append(ids.item())
print(json.dumps(written))
"""
UNDER_OPTIMUM = """
import json, sys
import torch
from optimum.onnxruntime import ORTModelForCausalLM

asked = torch.tensor([json.loads(sys.argv[2])])
for place in ({"file_name": "model.onnx"}, {"subfolder": "onnx", "file_name": "model.onnx"}):
    model = ORTModelForCausalLM.from_pretrained(sys.argv[1], **place)
    settings = dict(do_sample=False, max_new_tokens=8, min_new_tokens=8, pad_token_id=0)
    out = model.generate(input_ids=asked, attention_mask=torch.ones_like(asked), **settings)
    print(json.dumps(out[0, asked.shape[1]:].tolist()))
"""


@pytest.fixture
def pushed(
    home_hub: LoopbackHub, tiny_models: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Finished:
    """A run was pushed; the Hub is as it was right afterwards."""
    place = tmp_path_factory.getbasetemp() / "pushed"
    finished = finished_push(home_hub, tiny_models("llama"), place)
    finished.restore(home_hub)
    return finished


@pytest.fixture
def alone(tmp_path: Path) -> Callable[..., list[Any]]:
    """`alone(code, *words)`: what code prints, a line at a time, where nothing was fetched before."""

    def run(code: str, *words: str, python: str = sys.executable) -> list[Any]:
        environment = os.environ | {"HF_HOME": str(tmp_path / "home")}
        done = subprocess.run(
            [python, "-c", code, *words],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines() if line[:1] in "[{"]

    return run


def written_by_transformers(model_id: str) -> list[int]:
    """Eight greedy tokens of the published weights, in float32."""
    model = AutoModelForCausalLM.from_pretrained(model_id, dtype=torch.float32).eval()
    asked = torch.tensor([IDS])
    settings = {"do_sample": False, "max_new_tokens": 8, "min_new_tokens": 8, "pad_token_id": 0}
    out = model.generate(input_ids=asked, attention_mask=torch.ones_like(asked), **settings)
    return out[0, len(IDS) :].tolist()


def test_the_code_of_the_card_runs_as_it_stands(
    pushed: Finished, alone: Callable[..., list[Any]], home_hub: LoopbackHub
) -> None:
    card = home_hub.files(PUBLISHED)["README.md"].decode()
    code = re.findall(r"^```python\n(.*?)^```$", card, re.MULTILINE | re.DOTALL)
    assert len(code) == 2
    alone("\n".join(code))


def test_an_adapter_is_trained_on_it_and_published_beside_it(
    pushed: Finished, alone: Callable[..., list[Any]], home_hub: LoopbackHub
) -> None:
    (found,) = alone(WITH_AN_ADAPTER, PUBLISHED, "tester/adapter")
    assert found["losses"][-1] < found["losses"][0]
    assert found["base"] == PUBLISHED
    assert found["apart"] < 1e-5
    assert found["learnt"] > 1e-3
    assert found["written"] == 4
    assert home_hub.files("tester/adapter").keys() >= {"adapter_config.json", "adapter_model.safetensors"}


def test_the_harness_measures_it_as_hf_prune_does(
    pushed: Finished, alone: Callable[..., list[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (found,) = alone(IN_THE_HARNESS, PUBLISHED)
    assert found["items"] == {"original": 16, "effective": 4}
    monkeypatch.chdir(ROOT)
    words = (
        "eval",
        PUBLISHED,
        "--eval",
        "own_choices",
        "--tasks-from",
        "tests/support/tasks",
        "--limit",
        "4",
        *FEW[2:],
    )
    outcome = hf_prune(*words, "--json", "--output", str(tmp_path / "measured"))
    scores = json.loads(outcome.out)["evaluation"]["evaluated"]["scores"]["found"]
    assert found["acc"] == next(s["value"] for s in scores if s["metric"] == "acc")


@pytest.fixture
def with_graph(
    home_hub: LoopbackHub, tiny_models: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> str:
    """The id of a model that was published with an ONNX graph."""
    folder = tmp_path_factory.getbasetemp() / "with-graph"
    words = (str(tiny_models("llama")), "--drop-layers", "4", "--method", "angular", "--format", "onnx", *FEW)
    outcome = hf_prune(*words, "--output", str(folder), "--push", "--repo-id", "tester/with-graph")
    assert outcome.code == 0, outcome.err
    return "tester/with-graph"


@pytest.fixture(scope="module")
def optimum(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The Python of an environment with optimum's ONNX part, which wants an older transformers."""
    place = tmp_path_factory.mktemp("optimum") / "environment"
    python = str(place / "bin" / "python")
    subprocess.run(["uv", "venv", "-q", "--python", sys.executable, str(place)], check=True)
    # Without the pins of this checkout.
    subprocess.run(["uv", "pip", "install", "-q", "--no-config", "--python", python, *OPTIMUM], check=True)
    yield python
    shutil.rmtree(place)


def test_its_graph_writes_the_same_under_onnxruntime_and_optimum(
    with_graph: str, optimum: str, alone: Callable[..., list[Any]]
) -> None:
    expected = written_by_transformers(with_graph)
    assert alone(UNDER_ONNXRUNTIME, with_graph, json.dumps(IDS)) == [expected]
    assert alone(UNDER_OPTIMUM, with_graph, json.dumps(IDS), python=optimum) == [expected, expected]
