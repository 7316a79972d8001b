"""The wheel, installed where nothing else is, prunes a model."""

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.checkout import ROOT
from tests.support.tool import FEW

NEEDED = (
    "hf_prune/cli/main.py",
    "hf_prune/recipe/papers/gromov.yaml",
    "hf_prune/templates/model_card.md.j2",
    "hf_prune/stages/texts/built_in/c4_calibration.jsonl.gz",
    "hf_prune/stages/texts/built_in/c4_heldout.jsonl.gz",
    "hf_prune/stages/texts/built_in/letters_heldout.jsonl.gz",
)


def done(*command: str, cwd: Path | None = None) -> str:
    """The stdout of a command that must succeed, without this environment's own settings."""
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    finished = subprocess.run(command, cwd=cwd, env=kept, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_wheel_alone_prunes_a_model_to_a_card(tmp_path: Path, tiny_models: Callable[..., Path]) -> None:
    done("uv", "build", "--wheel", "--out-dir", str(tmp_path / "dist"), str(ROOT))
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert [name for name in NEEDED if name not in names] == []
    assert [name for name in names if name.startswith("tests/")] == []
    empty = tmp_path / "empty"
    done("uv", "venv", "--python", sys.executable, str(empty))
    done("uv", "pip", "install", "--no-config", "--python", str(empty), str(wheel))  # users have no pins
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    command = (str(empty / "bin" / "hf-prune"), "run", str(tiny_models("llama")), "--drop-layers", "2", *FEW)
    out = done(*command, "--output", "small", cwd=elsewhere)
    model = Path(elsewhere, out.strip())
    assert model == elsewhere / "small" / "model"
    run = json.loads((elsewhere / "small" / "run.json").read_text())
    assert len(run["plan"]["kept"]) == 4
    assert "## At a glance" in (model / "README.md").read_text()
