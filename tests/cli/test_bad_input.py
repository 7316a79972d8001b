"""What goes wrong ends in one line and an exit code, and leaves nothing half-written."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hf_prune.stages.texts.text import BUILT_IN_HELDOUT, built_in_text
from tests.loopback import Fault, LoopbackHub
from tests.support.tool import (
    BASE,
    FEW,
    Finished,
    bytes_of,
    finished_push,
    hf_prune,
    hf_prune_apart,
    nothing_changes,
    times_of,
)

TinyModels = Callable[..., Path]
CONFIG = b'{"model_type": "llama", "num_hidden_layers": 6}'
STORAGE = "^/storage/"
COMMIT = "/commit/main$"


@pytest.fixture
def model(tiny_models: TinyModels) -> str:
    """A tiny model in a folder."""
    return str(tiny_models("llama"))


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Where the run is to go."""
    return tmp_path / "run"


def is_refused(output: Path, *words: str) -> str:
    """The line that a command ends with, having left no output folder."""
    outcome = hf_prune(*words, "--output", str(output))
    assert not output.exists()
    return f"{outcome.code} {outcome.error()}"


def nothing_half_written(output: Path) -> None:
    """No model, no checkpoint, no file under a temporary name; finished stages may stay."""
    names = [path.name for path in output.rglob("*")]
    assert not [name for name in names if name.endswith(".partial")]
    assert not (output / "model").exists()
    assert not (output / "run.json").exists()


# The model


@pytest.mark.parametrize(
    ("files", "words", "said"),
    [
        ({"pytorch_model.bin": b"x", "config.json": CONFIG}, (), "add --allow-pickle"),
        ({"adapter_config.json": b"{}", "adapter_model.safetensors": b"x"}, (), "is an adapter"),
        ({"tiny.gguf": b"x"}, (), "add --gguf-file tiny.gguf"),
        ({"tiny.gguf": b"x"}, ("--gguf-file", "big.gguf"), "has no file big.gguf; its GGUF files: tiny.gguf"),
        ({"config.json": b'{"model_type": "nope"}', "model.safetensors": b"x"}, (), "architecture 'nope'"),
        (
            {
                "config.json": CONFIG[:-1] + b', "quantization_config": {"quant_method": "gptq"}}',
                "model.safetensors": b"x",
            },
            (),
            "the weights are quantised",
        ),
        ({"README.md": b"# Nothing"}, (), "holds no model"),
    ],
    ids=["pickled", "adapter", "gguf", "wrong gguf", "unknown", "quantised", "empty"],
)
def test_a_repository_that_cannot_be_pruned_is_refused_with_the_reason(
    home_hub: LoopbackHub, output: Path, files: dict[str, bytes], words: tuple[str, ...], said: str
) -> None:
    home_hub.add_repository("acme/odd", files)
    line = is_refused(output, "acme/odd", *words)
    assert line.startswith("1 ")
    assert said in line
    assert home_hub.calls_to("GET", STORAGE) == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("acme/missing", "there is no model acme/missing"),
        ("./missing", "there is no folder ./missing"),
        ("not a name", "neither a folder here nor a name that the Hub could have"),
    ],
)
def test_a_model_that_does_not_exist_is_named(
    home_hub: LoopbackHub, output: Path, name: str, said: str
) -> None:
    line = is_refused(output, name)
    assert line.startswith("1 ")
    assert said in line


def test_a_revision_that_does_not_exist_is_named(home_hub: LoopbackHub, output: Path) -> None:
    home_hub.add_repository(BASE, {"config.json": CONFIG, "model.safetensors": b"x"})
    assert f"{BASE} has no revision v9" in is_refused(output, BASE, "--revision", "v9")


def test_a_gated_model_says_where_its_terms_are(home_hub: LoopbackHub, output: Path) -> None:
    home_hub.add_repository("meta/gated", {"config.json": CONFIG, "model.safetensors": b"x"}, gated="auto")
    line = is_refused(output, "meta/gated")
    assert line.startswith("1 ")
    assert f"accept them at {home_hub.url}/meta/gated" in line


def test_a_token_that_nobody_knows_is_refused(
    home_hub: LoopbackHub, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home_hub.add_repository(BASE, {"config.json": CONFIG, "model.safetensors": b"x"})
    monkeypatch.setenv("HF_TOKEN", "hf_nobody")
    line = is_refused(output, BASE)
    assert line.startswith("1 ")
    assert "hf auth login" in line
    assert "hf_nobody" not in line


@pytest.mark.parametrize("keep", [4, 1000, -100], ids=["length", "header", "data"])
def test_a_truncated_weight_file_is_named(model: str, tmp_path: Path, output: Path, keep: int) -> None:
    broken = Path(shutil.copytree(model, tmp_path / "broken"))
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:keep])
    outcome = hf_prune(str(broken), "--drop-layers", "2", *FEW, "--output", str(output))
    assert outcome.code == 1
    assert "model.safetensors" in outcome.error()
    assert "unexpected" not in outcome.error()
    nothing_half_written(output)


# The network


def test_without_a_network_it_says_that_the_hub_does_not_answer(output: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        closed = taken.getsockname()[1]
    words = ("acme/tiny", "--output", str(output))
    outcome = hf_prune_apart(*words, HF_ENDPOINT=f"http://127.0.0.1:{closed}")
    assert outcome.code == 1
    assert f"the Hub at http://127.0.0.1:{closed} does not answer" in outcome.error()
    assert not output.exists()


def test_offline_and_not_cached_it_says_so(home_hub: LoopbackHub, output: Path) -> None:
    outcome = hf_prune_apart("acme/uncached", "--output", str(output), HF_HUB_OFFLINE="1")
    assert outcome.code == 1
    assert "HF_HUB_OFFLINE is set" in outcome.error()
    assert not output.exists()
    assert home_hub.calls == []


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_hub_that_answers_with_an_error_is_told_apart(
    home_hub: LoopbackHub, output: Path, status: int
) -> None:
    home_hub.add_repository(BASE, {"config.json": CONFIG, "model.safetensors": b"x"})
    home_hub.inject(Fault(method="GET", path="^/api/models/", status=status))
    line = is_refused(output, BASE)
    assert line.startswith("1 ")
    assert f"{status}" in line
    assert "finished stages are kept" in line


# The request


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--ratio", "0.99"), "would remove 6 of 6 layers"),
        (("--ratio", "0.01"), "removes none of 6 layers"),
        (("--ratio", "1.5"), "is not between 0 and 1"),
        (("--drop-layers", "6"), "would remove 6 of 6 layers"),
        (("--drop-layers", "0"), "removes nothing"),
        (("--layers", "4-6"), "the model has 6 layers, 0 to 5"),
        (("--layers", "4-2"), "runs backwards"),
        (("--layers", "two"), "is not a list like 21-28,30"),
        (("--layers", "0-5"), "would remove 6 of 6 layers"),
        (("--layers", "1", "--ratio", "0.5"), "each say what to remove"),
        (("--samples", "0"), "--samples 0 is too small"),
        (("--device", "potato"), "--device potato is not available here"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_request_that_cannot_be_met_is_wrong_usage(
    model: str, output: Path, words: tuple[str, ...], said: str
) -> None:
    line = is_refused(output, model, *words)
    assert line.startswith("2 ")
    assert said in line


def test_an_unknown_option_is_wrong_usage(model: str, output: Path) -> None:
    outcome = hf_prune(model, "--drop-layer-s", "2", "--output", str(output))
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.splitlines()[-1].startswith("Error: No such option")
    assert not output.exists()


# The texts


def test_a_text_that_is_too_short_is_refused(model: str, tmp_path: Path, output: Path) -> None:
    short = tmp_path / "short.txt"
    short.write_text("Too short.")
    words = (model, "--drop-layers", "2", *FEW, "--calibration", str(short))
    outcome = hf_prune(*words, "--output", str(output))
    assert outcome.code == 1
    assert "short.txt has" in outcome.error()
    nothing_half_written(output)


def test_a_text_that_is_evaluated_on_may_not_be_calibrated_on(
    model: str, tmp_path: Path, output: Path
) -> None:
    text = tmp_path / "same.jsonl"
    documents = built_in_text(BUILT_IN_HELDOUT).documents[:5]
    text.write_text("".join(json.dumps({"text": document}) + "\n" for document in documents))
    outcome = hf_prune(model, "--drop-layers", "2", *FEW, "--calibration", str(text), "--output", str(output))
    assert outcome.code == 1
    told = "5 documents are both in the calibration text same.jsonl and in the held-out text c4_heldout"
    assert told in outcome.error()
    nothing_half_written(output)


# The output folder and the disk


def test_a_folder_that_holds_something_else_is_left_alone(model: str, output: Path) -> None:
    output.mkdir()
    (output / "thesis.txt").write_text("three years of work")
    for more in ((), ("--fresh",)):
        with nothing_changes(output):
            outcome = hf_prune(model, "--drop-layers", "2", *more, "--output", str(output))
        assert outcome.code == 2
        assert "is not empty and was not made by hf-prune" in outcome.error()


def test_an_output_that_is_a_file_is_left_alone(model: str, output: Path) -> None:
    output.write_text("a file")
    outcome = hf_prune(model, "--drop-layers", "2", "--output", str(output))
    assert outcome.code == 2
    assert "is a file: choose another --output" in outcome.error()
    assert output.read_text() == "a file"


def test_a_run_with_another_recipe_is_left_alone(pushed: Finished, run_folder: Path) -> None:
    with nothing_changes(run_folder):
        outcome = hf_prune(BASE, "--drop-layers", "3", *FEW, "--output", str(run_folder))
    assert outcome.code == 2
    assert "holds a run with other settings" in outcome.error()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """A disk of so many kilobytes."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(kilobytes: int) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(place)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("mounting is refused here")
        return place

    yield mount
    if os.path.ismount(place):
        subprocess.run(["umount", str(place)], check=True)


# The weights of the cut take 231 kB, what is beside them 12 kB, the stages before it 27 kB.
@pytest.mark.parametrize(
    ("kilobytes", "said"),
    [(128, "writing the cut checkpoint needs"), (264, "the disk filled up while writing")],
    ids=["foreseen", "halfway"],
)
def test_a_full_disk_is_named_and_what_was_unfinished_is_removed(
    model: str, small_disk: Callable[[int], Path], kilobytes: int, said: str
) -> None:
    output = small_disk(kilobytes) / "run"
    outcome = hf_prune(model, "--drop-layers", "2", *FEW, "--output", str(output))
    assert outcome.code == 1
    assert said in outcome.error()
    nothing_half_written(output)
    assert not (output / "checkpoints" / "cut").exists()
    assert (output / "stages" / "measure.json").is_file()


# Publishing


@pytest.fixture
def pushed(
    home_hub: LoopbackHub, tiny_models: TinyModels, tmp_path_factory: pytest.TempPathFactory
) -> Finished:
    """A finished run whose base is on the Hub; nothing is published."""
    finished = finished_push(home_hub, tiny_models("llama"), tmp_path_factory.getbasetemp() / "pushed")
    finished.restore(home_hub, published=False)
    return finished


@pytest.fixture
def run_folder(pushed: Finished, tmp_path: Path) -> Path:
    """Its folder, to be changed."""
    return Path(shutil.copytree(pushed.folder, tmp_path / "run"))


def test_a_token_that_may_only_read_is_refused_before_anything_is_measured(
    home_hub: LoopbackHub, model: str, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_read")
    line = is_refused(output, model, "--drop-layers", "2", "--push")
    assert line.startswith("1 ")
    assert "may only read" in line


def test_pushing_without_a_login_is_refused_before_anything_is_measured(
    home_hub: LoopbackHub, model: str, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    line = is_refused(output, model, "--drop-layers", "2", "--push")
    assert line.startswith("1 ")
    assert "publishing needs a login" in line


def test_a_name_in_a_strange_namespace_is_refused_before_anything_is_measured(
    home_hub: LoopbackHub, model: str, output: Path
) -> None:
    line = is_refused(output, model, "--drop-layers", "2", "--push", "--repo-id", "meta/mine")
    assert "tester is not part of meta" in line


def test_a_repository_that_hf_prune_did_not_make_is_overwritten_only_with_yes(
    home_hub: LoopbackHub, pushed: Finished, run_folder: Path
) -> None:
    home_hub.add_repository("tester/tiny-4L", {"model.safetensors": b"precious", "notes.txt": b"mine"})
    before = home_hub.files("tester/tiny-4L")
    refused = hf_prune(*pushed.words, "--output", str(run_folder))
    assert refused.code == 1
    assert "tester/tiny-4L exists and was not made by hf-prune" in refused.error()
    assert home_hub.files("tester/tiny-4L") == before
    assert hf_prune(*pushed.words, "--output", str(run_folder), "--yes").code == 0
    after = home_hub.files("tester/tiny-4L")
    assert after["model.safetensors"] == (run_folder / "model" / "model.safetensors").read_bytes()
    assert after["notes.txt"] == b"mine"


@pytest.mark.parametrize(
    "faults",
    [
        [Fault(method="POST", path=COMMIT, status=401)],
        [Fault(method="POST", path=COMMIT, status=429, headers={"Retry-After": "7200"})],
        [Fault(method="PUT", path=STORAGE, status=401)],
        [Fault(method="POST", path="/repos/create$", status=403)],
    ],
    ids=["commit 401", "commit 429", "weights 401", "create 403"],
)
def test_a_failed_upload_is_one_line_and_the_same_command_publishes_without_computing_anew(
    home_hub: LoopbackHub, pushed: Finished, run_folder: Path, faults: list[Fault]
) -> None:
    times = times_of(run_folder / "stages")
    home_hub.inject(*faults)
    failed = hf_prune(*pushed.words, "--output", str(run_folder))
    assert failed.code == 1
    assert "tester/tiny-4L" in failed.error()
    assert "unexpected" not in failed.error()
    assert bytes_of(run_folder) == bytes_of(pushed.folder)
    repository = home_hub.repositories.get(("model", "tester/tiny-4l"))
    assert repository is None or "README.md" not in repository.find("main").files
    again = hf_prune(*pushed.words, "--output", str(run_folder))
    assert (again.code, again.out) == (0, f"{home_hub.url}/tester/tiny-4L\n")
    assert "README.md" in home_hub.files("tester/tiny-4L")
    after = times_of(run_folder / "stages")
    del times["recipe.json"], after["recipe.json"]  # claimed anew, with the same content
    assert after == times


@pytest.mark.parametrize(
    "fault",
    [
        Fault(method="PUT", path=STORAGE, status=429, headers={"Retry-After": "0"}),
        Fault(method="PUT", path=STORAGE, status=500),
        Fault(method="PUT", path=STORAGE, cut_request_at=0.5),
    ],
    ids=["429", "500", "cut"],
)
def test_a_hitch_while_weights_are_sent_is_got_over(
    home_hub: LoopbackHub, pushed: Finished, run_folder: Path, fault: Fault
) -> None:
    home_hub.inject(fault)
    assert hf_prune(*pushed.words, "--output", str(run_folder)).code == 0
    assert "model.safetensors" in home_hub.files("tester/tiny-4L")


# Interrupted


@pytest.mark.parametrize("after", ["local folder", "tournament:", "removing layers 3"])
def test_an_interrupt_is_one_line_and_exit_130(model: str, output: Path, after: str) -> None:
    # A shell that runs tests in the background has told its children to ignore the signal.
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from hf_prune.cli.main import main; main()"
    )
    words = ("run", model, "--drop-layers", "2", "--output", str(output))
    command = [sys.executable, "-c", code, *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        said: list[str] = []
        while not said or (after not in said[-1] and said[-1]):
            said.append(process.stderr.readline())
        assert after in said[-1], said
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (130, ""), err
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("hf-prune: interrupted; finished stages are kept")
    nothing_half_written(output)
