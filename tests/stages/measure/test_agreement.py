"""How near cuts come to a model's final states, against the model as transformers runs it."""

import pytest
import torch
from transformers import AutoModelForMaskedLM

from hf_prune.machine.progress import silent
from hf_prune.model.decoder import open_decoder
from hf_prune.stages.cut.checkpoint import write_checkpoint
from hf_prune.stages.measure.ablation import Cut
from hf_prune.stages.measure.agreement import agreement, try_agreements
from tests.support.encoders import some_inputs
from tests.support.plain import windows_of

KEPT = (0, 1, 4, 5)


@torch.no_grad()
def plain_cosines(source, shorter, tokens):
    """Of each sequence: the mean over its tokens."""
    states = [
        AutoModelForMaskedLM.from_pretrained(folder)(tokens, output_hidden_states=True).hidden_states[-1]
        for folder in (source, shorter)
    ]
    return torch.cosine_similarity(*states, dim=-1).mean(-1)


def test_a_cut_agrees_as_the_plain_models_do(tiny_encoders, tmp_path):
    source, tokens = tiny_encoders("bert"), some_inputs(images=False, count=5)
    write_checkpoint(source, tmp_path, kept=KEPT, variant="cut", replacements={}, progress=silent)
    cosines = plain_cosines(source, tmp_path, tokens)
    original, shorter = (open_decoder(folder, torch.device("cpu")) for folder in (source, tmp_path))
    measured = agreement(original, shorter, windows_of(tokens), "cut", silent)
    assert measured.cosine == pytest.approx(cosines.mean().item(), abs=1e-5)
    assert measured.cosine_stderr == pytest.approx(cosines.std().item() / 5**0.5, abs=1e-5)
    tried = try_agreements(
        original, windows_of(tokens), [Cut(KEPT), Cut((0, 1, 2, 3, 4, 5))], silent, "trying"
    )
    assert tried == pytest.approx([measured.cosine, 1.0], abs=1e-6)
