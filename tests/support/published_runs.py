"""Folders of finished runs with random bytes as weights, and assertions about published ones."""

import hashlib
import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from hf_prune.commands.finished import push, read_finished
from hf_prune.machine.progress import Reporter
from hf_prune.recipe.recipe import Publication
from hf_prune.records import Presentation, Published, WeightFile
from hf_prune.stages.card.pictures import picture_paths
from hf_prune.stages.cut.checkpoint import depth_name
from hf_prune.stages.publish.folder import card_of, write_card_and_record
from hf_prune.stages.publish.own_sections import without_own
from hf_prune.stages.run import Run, read_record
from hf_prune.stages.work import RunFolder
from tests.loopback import LoopbackHub
from tests.loopback.repository import MAIN, Blob, Commit, Repository
from tests.support.sample_run import sample_run

REPO_ID = "tester/SmolLM2-135M-22L"
WEIGHTS = {"model.safetensors": random.Random(0).randbytes(200_000)}
OTHER_WEIGHTS = {"model.safetensors": random.Random(1).randbytes(200_000)}
SHARDS = {
    "model-00001-of-00002.safetensors": random.Random(2).randbytes(50_000),
    "model-00002-of-00002.safetensors": random.Random(3).randbytes(50_000),
    "model.safetensors.index.json": b'{"weight_map": {}}',
}
EXPORTS = {
    "onnx/model.onnx": random.Random(4).randbytes(3_000),
    "onnx/model.onnx_data": random.Random(5).randbytes(30_000),
    "model.gguf": random.Random(6).randbytes(30_000),
}


def run_with(weights: Mapping[str, bytes] = WEIGHTS, run: Run | None = None) -> Run:
    """A record that names these weights."""
    run = run or sample_run()
    files = tuple(
        WeightFile(name=name, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        for name, data in weights.items()
        if name.endswith(".safetensors")
    )
    return replace(run, result=replace(run.result, weights=files))


def make_folder(
    path: Path, weights: Mapping[str, bytes] = WEIGHTS, run: Run | None = None, **more: bytes
) -> Path:
    """The folder of a finished run, with more files next to its weights."""
    run, folder = run_with(weights, run), RunFolder(path)
    pictures = {name: name.encode() for name in picture_paths(run).values() if name}
    for name, data in {**weights, **pictures, "config.json": b"{}", **more}.items():
        file = folder.model / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    for depth in run.evaluated.depths[:-1]:
        depth_folder = folder.depths / depth_name(depth.layers)
        depth_folder.mkdir(parents=True)
        (depth_folder / "model.safetensors").write_bytes(weights["model.safetensors"][: 1000 * depth.layers])
        (depth_folder / "config.json").write_bytes(b"{}")
    write_card_and_record(run, folder.model, folder, None)
    return path


def annotate(path: Path, notes: str) -> None:
    """Put notes into the card of a finished run, which stays the same run."""
    finished = read_finished(path)
    assert finished.folder is not None
    run = replace(finished.recorded.run, presentation=Presentation(notes=notes))
    write_card_and_record(run, finished.model, finished.folder, finished.repo_id)


class Messages:
    """The messages to the user, and the seconds of each wait."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.waits: list[float] = []

    @property
    def reporter(self) -> Reporter:
        return Reporter(tell=self.lines.append)


def published(path: Path, **where: object) -> tuple[Published, list[str]]:
    """The result and the messages of `hf-prune push RUN`."""
    messages = Messages()
    return push(read_finished(path), Publication(**where), messages.reporter), messages.lines


def repository(hub: LoopbackHub, repo_id: str = REPO_ID) -> Repository:
    return hub.repositories["model", repo_id.lower()]


def written_by_another(hub: LoopbackHub, files: Mapping[str, str], revision: str = MAIN) -> None:
    """Add a commit by somebody else."""
    found = repository(hub)
    head = found.commits[found.references[revision]]
    tree = {**head.files, **{name: Blob.regular(text.encode()) for name, text in files.items()}}
    found.references[revision] = found.add_commit(head.oid, tree, "theirs").oid


def commits_with_a_card(found: Repository) -> Iterator[Commit]:
    """Every commit with a card on any branch."""
    for oid in found.references.values():
        for commit in found.history(found.commits[oid]):
            if "README.md" in commit.files:
                yield commit


def assert_no_card_without_its_weights(hub: LoopbackHub, tmp_path: Path, repo_id: str = REPO_ID) -> None:
    """In every commit, the card belongs to the record, and exactly the recorded weights are there."""
    found = repository(hub, repo_id)
    for commit in commits_with_a_card(found):
        files = {name: blob.data for name, blob in commit.files.items()}
        if "hf_prune.json" not in files:  # a depth
            assert "model.safetensors" in files
            continue
        recorded = json.loads(files["hf_prune.json"])["result"]["weights"]
        there = {
            n: hashlib.sha256(data).hexdigest() for n, data in files.items() if n.endswith(".safetensors")
        }
        assert there == {weights["name"]: weights["sha256"] for weights in recorded}
        record = tmp_path / f"{commit.oid}.json"
        record.write_bytes(files["hf_prune.json"])
        card = card_of(read_record(record).run, repo_id)
        assert without_own(files["README.md"].decode()) == without_own(card)


def assert_published(hub: LoopbackHub, folder: Path, revision: str = "main") -> None:
    """A revision equals the model folder of a run, and every injected fault has happened."""
    files = hub.files(REPO_ID, revision)
    del files[".gitattributes"]
    model = RunFolder(folder).model
    names = {path.relative_to(model).as_posix() for path in model.rglob("*") if path.is_file()}
    assert files.keys() == names
    assert {name for name in names if files[name] != (model / name).read_bytes()} == set()
    assert hub.pending_faults == ()
