"""How long cutting the files of a model takes beside copying the same bytes, and what memory it takes.

    python benchmarks/cut.py --folder /path/with/14/GB/free

Writes a random Llama (5.4 GB in files of about a gigabyte), takes a quarter of its layers out of the middle
with `write_checkpoint` in a process of its own, and copies the files that this gave with `cp`. Both end with
the bytes on the disk: the cut with `fsync` of every file, `cp` with `sync FILE...`. They take turns; before
each turn that starts cold the kernel is asked to forget the input (`posix_fadvise`, which needs no rights),
before each that starts warm the input is read once. The time of the cut is that of `write_checkpoint`: its
checks, renumbering and sha256 of every file are in it, the loading of libraries is not. Its memory is the
peak of its process above the interpreter and its libraries; the kernel's cache of files does not count.
"processor" is the time of a core that each took, in all its threads; other work on the machine moves it less.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from memory import peak_memory, write_random_llama

HIDDEN, LAYERS_PER_FILE = 4096, 3


def kept_of(layers: int) -> tuple[int, ...]:
    """All layers but a quarter of them in the middle."""
    gone = layers // 4
    start = (layers - gone) // 2
    return (*range(start), *range(start + gone, layers))


def cut_here(source: Path, target: Path) -> None:
    """Cut in this process; print the seconds and the peak memory before and after, as JSON."""
    from hf_prune.machine.progress import silent
    from hf_prune.model.skeleton import build_skeleton
    from hf_prune.stages.cut.checkpoint import write_checkpoint

    kept = kept_of(json.loads((source / "config.json").read_text())["num_hidden_layers"])
    build_skeleton(source)  # the architecture's module loads on first use
    before, spent, start = peak_memory(), time.process_time(), time.perf_counter()
    cut = write_checkpoint(source, target, kept=kept, variant="cut", replacements={}, progress=silent)
    seconds, after, spent = time.perf_counter() - start, peak_memory(), time.process_time() - spent
    start = time.perf_counter()
    build_skeleton(source)
    checks = time.perf_counter() - start
    print(
        json.dumps(
            {
                "seconds": seconds,
                "processor": spent,
                "before": before,
                "after": after,
                "bytes": sum(file.size_bytes for file in cut.weights),
                "skeleton": checks,
            }
        )
    )


def cut(source: Path, target: Path) -> dict[str, float]:
    """Cut in another process; what that process told."""
    command = [sys.executable, __file__, "--cut", str(source), str(target)]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(printed.splitlines()[-1])


def copy(source: Path, target: Path) -> dict[str, float]:
    """Copy the weight files with `cp` and have them on the disk."""
    files = sorted(str(path) for path in source.glob("*.safetensors"))
    start, spent = time.perf_counter(), processor_of_children()
    subprocess.run(["cp", *files, str(target)], check=True)
    subprocess.run(["sync", *(str(path) for path in target.iterdir())], check=True)
    return {"seconds": time.perf_counter() - start, "processor": processor_of_children() - spent}


def processor_of_children() -> float:
    """Seconds of a core that the processes which have ended took."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def forget(folder: Path) -> None:
    """Ask the kernel to drop what it has in memory of the files."""
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def recall(folder: Path) -> None:
    """Have the files in the kernel's memory."""
    subprocess.run(["cat", *map(str, folder.glob("*.safetensors"))], check=True, stdout=subprocess.DEVNULL)


def measure(folder: Path, layers: int, rounds: int) -> dict[str, list[dict[str, float]]]:
    """What each turn took: by "cut cold", "cp cold", "cut warm", "cp warm"."""
    source, kept, target = (folder / name for name in ("source", "kept", "target"))
    write_random_llama(source, layers, HIDDEN, LAYERS_PER_FILE)
    kept.mkdir()
    cut(source, kept)  # not counted: what cp copies
    turns: dict[str, list[dict[str, float]]] = {}
    for number in range(rounds):
        for start, prepare in (("cold", forget), ("warm", recall)):
            both = [("cut", cut, source), ("cp", copy, kept)]
            for name, run, origin in both if number % 2 else reversed(both):
                for other in (source, kept):
                    forget(other)
                prepare(origin)
                target.mkdir()
                turns.setdefault(f"{name} {start}", []).append(told := run(origin, target))
                print(f"{name} {start}: {told['seconds']:.2f} s", file=sys.stderr, flush=True)
                shutil.rmtree(target)
                subprocess.run(["sync", str(folder)], check=True)
    return turns


def main() -> None:
    """Print the medians of the turns."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, help="where to work; what is made there is removed")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cut", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.cut:
        cut_here(*options.cut)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        turns = measure(Path(name), options.layers, options.rounds)
    told = turns["cut cold"] + turns["cut warm"]
    print(f"{told[0]['bytes'] / 1e9:.2f} GB kept, {options.rounds} rounds")
    for clock in ("seconds", "processor"):
        times = {name: [turn[clock] for turn in found] for name, found in turns.items()}
        for name, found in times.items():
            every = ", ".join(f"{each:.2f}" for each in found)
            print(f"{clock:<10}{name:<10}{statistics.median(found):>8.2f}  ({every})")
        for start in ("cold", "warm"):
            ratio = statistics.median(times[f"cut {start}"]) / statistics.median(times[f"cp {start}"])
            print(f"{clock:<10}cut / cp, {start}: {ratio:.2f}")
    print(f"of the cut, reading the headers and checking them: {told[0]['skeleton']:.2f} s each of two times")
    print(f"interpreter and libraries: {max(turn['before'] for turn in told) / 1e6:,.0f} MB")
    print(f"peak above them: {max(turn['after'] - turn['before'] for turn in told) / 1e6:,.0f} MB")


if __name__ == "__main__":
    main()
