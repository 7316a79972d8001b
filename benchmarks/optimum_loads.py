"""Whether optimum loads an ONNX export, in an environment of its own, and writes what PyTorch writes.

    hf-prune ./model --format onnx,onnx-8bit --output small
    python benchmarks/optimum_loads.py small/model

optimum-onnx needs transformers 4, so it cannot share an environment with hf-prune: one is made with uv, in
`--environment`, unless it is there. ORTModelForCausalLM then goes on from the same prompts, alone and in a
batch, of which the shorter text is padded; the model in PyTorch does so here, in float32.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGES = (
    "optimum-onnx[onnxruntime]==0.1.0",
    "optimum==2.1.0",
    "transformers==4.57.6",
    "huggingface_hub==0.36.2",
    "torch==2.15.0",
    "onnxruntime==1.31.1",
)
PROMPTS = ("The capital of France is", "A short story about a dog that could not find its way home: once")
NEW_TOKENS = 20
UNDER_OPTIMUM = """
import json, sys
import torch
from optimum.onnxruntime import ORTModelForCausalLM
folder, file_name, asked, told = sys.argv[1:]
model = ORTModelForCausalLM.from_pretrained(folder, file_name=file_name)
written = []
for ids, mask in json.load(open(asked)):
    mask = torch.tensor(mask)
    out = model.generate(input_ids=torch.tensor(ids), attention_mask=mask, do_sample=False, max_new_tokens=20,
                         min_new_tokens=20)
    written.append(out[:, mask.shape[1]:].tolist())
json.dump(written, open(told, "w"))
"""


def batches(folder: Path) -> list[tuple[list[list[int]], list[list[int]]]]:
    """Ids and masks: each prompt alone, and both together, padded on the left."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = [tokenizer(prompt)["input_ids"] for prompt in PROMPTS]
    longest = max(map(len, texts))
    padded = [[0] * (longest - len(text)) + text for text in texts]
    masks = [[0] * (longest - len(text)) + [1] * len(text) for text in texts]
    return [*(([text], [[1] * len(text)]) for text in texts), (padded, masks)]


def under_torch(folder: Path, asked: list[tuple[list[list[int]], list[list[int]]]]) -> list[list[list[int]]]:
    """What the published weights write, in float32."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    written = []
    for ids, mask in asked:
        out = model.generate(
            torch.tensor(ids),
            attention_mask=torch.tensor(mask),
            do_sample=False,
            max_new_tokens=NEW_TOKENS,
            min_new_tokens=NEW_TOKENS,
        )
        written.append(out[:, len(mask[0]) :].tolist())
    return written


def under_optimum(
    python: Path, folder: Path, file_name: str, asked: list[tuple[list[list[int]], list[list[int]]]]
) -> list[list[list[int]]]:
    """What ORTModelForCausalLM writes, in the other environment."""
    with tempfile.TemporaryDirectory() as place:
        question, answer = Path(place, "asked.json"), Path(place, "told.json")
        question.write_text(json.dumps(asked))
        words = ["-c", UNDER_OPTIMUM, str(folder.resolve()), file_name, str(question), str(answer)]
        subprocess.run([str(python), *words], check=True)
        return json.loads(answer.read_text())


def main() -> None:
    """Print for each graph how many of the tokens are the same."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path, help="a folder that hf-prune published or would")
    parser.add_argument("--environment", type=Path, default=Path(tempfile.gettempdir(), "optimum"))
    options = parser.parse_args()
    python = options.environment / "bin" / "python"
    if not python.is_file():
        uv = [sys.executable, "-m", "uv"]
        subprocess.run([*uv, "venv", str(options.environment)], check=True)
        # Without the pins of this checkout: optimum wants an older transformers.
        install = [*uv, "pip", "install", "--no-config", "--python", str(python)]
        subprocess.run([*install, *PACKAGES], check=True)
    asked = batches(options.model)
    expected = under_torch(options.model, asked)
    for path in sorted(options.model.glob("onnx/*.onnx")):
        found = under_optimum(python, options.model, path.name, asked)
        pairs = [
            (one, other)
            for batch in zip(found, expected, strict=True)
            for text in zip(*batch, strict=True)
            for one, other in zip(*text, strict=True)
        ]
        same = sum(one == other for one, other in pairs)
        print(f"{path.name}: {same} of {len(pairs)} greedy tokens as in PyTorch")


if __name__ == "__main__":
    main()
