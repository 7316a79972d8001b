"""Fixtures that every test shares: a Hub on loopback, tiny models, and the real one.

huggingface_hub reads its environment when it is first imported, so one Hub is started and named before
anything else, for the tests that run the tool as it is; each test gets it empty.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tests.loopback import JobEnd, LoopbackHub

# Many tests start the tool in a process of its own: where the libraries are compiled anew it takes long.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
HOME_HUB = LoopbackHub()
HOME_HUB.__enter__()
os.environ.pop("HF_TOKEN", None)
# Two processes share the cores; idle threads that spin would make tiny models ten times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.update(
    HF_ENDPOINT=HOME_HUB.url,
    HF_HOME=tempfile.mkdtemp(prefix="hf-prune-tests-"),
    HF_HUB_DISABLE_XET="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    HF_HUB_DISABLE_UPDATE_CHECK="1",
    HF_HUB_DISABLE_PROGRESS_BARS="1",
)

import pytest
import torch

from tests.support.encoders import build_tiny_encoder, save_images
from tests.support.models import build_tiny_model, silence_layers, train_tiny_model

GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--update-golden` writes the golden files anew, so that a review sees the difference."""
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/golden/")


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    """A fresh Hub on loopback; at the end nothing may have been unknown to it or crashed it."""
    with LoopbackHub() as server:
        yield server
        assert server.unknown == []
        assert server.crashes == []


@pytest.fixture
def home_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """The Hub that huggingface_hub takes for the real one, empty, with the user `tester` logged in."""
    stored = (HOME_HUB.repositories, HOME_HUB.collections, HOME_HUB.objects, HOME_HUB.parts)
    for state in (*stored, HOME_HUB.jobs, HOME_HUB.schedules, HOME_HUB.webhooks):
        state.clear()
    HOME_HUB.job_end = JobEnd()
    for record in (HOME_HUB.calls, HOME_HUB.unknown, HOME_HUB.crashes):
        record.clear()
    HOME_HUB.forget_faults()
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    yield HOME_HUB
    assert HOME_HUB.unknown == []
    assert HOME_HUB.crashes == []
    assert HOME_HUB.pending_faults == ()


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with a golden file, whole."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--update-golden"):
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8")

    return compare


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`tiny_models("qwen3", num_hidden_layers=6)`: a folder with a tiny random model; made once."""
    made: dict[str, Path] = {}

    def get(family: str = "llama", **settings: object) -> Path:
        key = f"{family} {sorted(settings.items())}"
        if key not in made:
            made[key] = tmp_path_factory.mktemp(family)
            build_tiny_model(made[key], family, **settings)
        return made[key]

    return get


@pytest.fixture(scope="session")
def tiny_encoders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`tiny_encoders("bert")`: a folder with a tiny random encoder; made once."""
    made: dict[str, Path] = {}

    def get(model_type: str) -> Path:
        if model_type not in made:
            made[model_type] = tmp_path_factory.mktemp("encoder") / model_type
            build_tiny_encoder(made[model_type], model_type)
        return made[model_type]

    return get


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder named "photos" with 40 small images."""
    return save_images(tmp_path_factory.mktemp("images") / "photos", range(40))


@pytest.fixture(scope="session")
def with_identity_layer(
    tiny_models: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """`with_identity_layer([3])`: a tiny Llama whose layers in the list add nothing; made once."""
    made: dict[str, Path] = {}

    def plant(layers: Iterable[int], **settings: object) -> Path:
        silent = tuple(layers)
        key = f"{silent} {sorted(settings.items())}"
        if key not in made:
            made[key] = tmp_path_factory.mktemp("planted") / "model"
            shutil.copytree(tiny_models("llama", **settings), made[key])
            silence_layers(made[key], silent)
        return made[key]

    return plant


@pytest.fixture(scope="session")
def trained_model(tiny_models: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of six layers that has read some text: losing any of its layers costs it something."""
    folder = tmp_path_factory.mktemp("trained") / "llama"
    train_tiny_model(tiny_models("llama"), folder)
    return folder


@pytest.fixture(scope="session")
def real_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2-135M-Instruct in transformers' form, converted from its package; takes half a minute."""
    from hf_prune.stages.source.demo import demo_model
    from hf_prune.stages.source.gguf import convert_gguf

    folder, gguf_file = demo_model()
    return convert_gguf(folder, gguf_file, tmp_path_factory.mktemp("real") / "SmolLM2-135M-Instruct")
