"""The versions that hf-prune is developed and tested with.

    python3 .ci/versions.py pin                 pin the newest versions that pyproject.toml allows
    python3 .ci/versions.py lowest COMMAND ...  run a command with the oldest versions it allows
    python3 .ci/versions.py newest COMMAND ...  run a command with the newest, upper bounds lifted

`uv run` in a clone installs the pins, so that it gives the same environment next month. The two others run
in a copy of the checkout with an environment of its own, which is removed afterwards.
"""

import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
UV = (sys.executable, "-m", "uv")
EXPORT = ("export", "--quiet", "--all-extras", "--all-groups", "--no-hashes", "--no-emit-project")
BUILD = "hatchling\nsetuptools\n"  # what builds hf-prune, and those packages that come without a wheel
PINS, BUILD_PINS = "constraint-dependencies", "build-constraint-dependencies"


def with_pins(text: str, name: str, pins: list[str]) -> str:
    """pyproject.toml with one of its two lists of pins replaced."""
    lines = "".join(f'    "{pin}",\n' for pin in pins)
    found, count = re.subn(
        rf"^{name} = \[\n.*?^\]", lambda _: f"{name} = [\n{lines}]", text, flags=re.MULTILINE | re.DOTALL
    )
    if count != 1:
        raise SystemExit(f"pyproject.toml should have one list {name}; it has {count}")
    return found


def without_pins(text: str) -> str:
    """pyproject.toml with its ranges alone."""
    return with_pins(with_pins(text, PINS, []), BUILD_PINS, [])


def without_upper_bounds(text: str) -> str:
    """pyproject.toml with lower bounds alone: "torch>=2.11,<3" becomes "torch>=2.11"."""
    return re.sub(r'("[\w.\[\]-]+>=[\w.]+),<[\w.]+"', r'\1"', text)


def pins_of(requirements: str) -> list[str]:
    """The pins of a requirements file. A package keeps its marker only where it has several versions."""
    lines = [line.strip() for line in requirements.splitlines() if "==" in line]
    packages = [line.split("==")[0] for line in lines]
    versions = Counter(packages)
    return [
        line if versions[package] > 1 else line.split(";")[0].strip()
        for package, line in zip(packages, lines, strict=True)
    ]


def copy_of_checkout(folder: Path, pyproject: str) -> None:
    """Copy what git tracks, or would, with another pyproject.toml."""
    listed = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        if (source := ROOT / name).is_file():  # one that was deleted is listed until the next commit
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
            target.chmod(source.stat().st_mode)
    (folder / "pyproject.toml").write_text(pyproject)
    subprocess.run(("git", "init", "--quiet"), cwd=folder, check=True)  # what lists the files of a copy, too


def pin() -> None:
    """Write the newest versions that pyproject.toml allows into it."""
    path = ROOT / "pyproject.toml"
    text = path.read_text()
    with tempfile.TemporaryDirectory() as name:
        copy_of_checkout(Path(name), without_pins(text))
        said = subprocess.run((*UV, *EXPORT), cwd=name, check=True, stdout=subprocess.PIPE, text=True).stdout
        compiled = subprocess.run(
            (*UV, "pip", "compile", "--quiet", "--universal", "--no-annotate", "--no-header", "-"),
            cwd=name,
            input=BUILD,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout
    text = with_pins(with_pins(text, PINS, pins_of(said)), BUILD_PINS, pins_of(compiled))
    path.write_text(text)


def run_with(resolution: str, command: list[str]) -> int:
    """Run a command in a copy of the checkout, with other versions than the pins; its exit status."""
    text = without_pins((ROOT / "pyproject.toml").read_text())
    environment = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}
    if resolution == "lowest":
        environment["UV_RESOLUTION"] = "lowest-direct"
        # The oldest versions have no wheels for the newest Python.
        lowest = tomllib.loads(text)["project"]["requires-python"].removeprefix(">=")
        environment.setdefault("UV_PYTHON", lowest)
    else:
        text = without_upper_bounds(text)
    with tempfile.TemporaryDirectory() as name:
        copy_of_checkout(Path(name), text)
        return subprocess.run(command, cwd=name, env=environment, check=False).returncode


def main(words: list[str]) -> int:
    """Do what the words say; the exit status."""
    match words:
        case ["pin"]:
            pin()
            return 0
        case ["lowest" | "newest" as resolution, _, *_]:
            return run_with(resolution, words[1:])
    sys.stderr.write(__doc__ or "")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
