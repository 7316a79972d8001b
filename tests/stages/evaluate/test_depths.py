"""What the first so many layers of a model are worth."""

from pathlib import Path

import pytest
import torch

from hf_prune.machine.progress import silent
from hf_prune.model.decoder import open_decoder
from hf_prune.stages.cut.checkpoint import write_checkpoint
from hf_prune.stages.evaluate.depths import perplexities_by_depth
from hf_prune.stages.evaluate.perplexity import perplexity
from hf_prune.stages.texts.text import TextSource
from hf_prune.stages.texts.windows import windows_of

IDS = torch.randint(5, 300, (3, 32), generator=torch.Generator().manual_seed(0))
WINDOWS = windows_of(TextSource(name="random", dataset=None), IDS)


def test_each_depth_is_worth_what_its_own_checkpoint_is(trained_model: Path, tmp_path: Path) -> None:
    decoder = open_decoder(trained_model, torch.device("cpu"))
    found = perplexities_by_depth(decoder, WINDOWS, (2, 4, 6), "whole", silent)
    assert [each.variant for each in found] == ["depth-2", "depth-4", "depth-6"]
    for depth, measured in zip((2, 4, 6), found, strict=True):
        target = tmp_path / str(depth)
        target.mkdir()
        kept = tuple(range(depth))
        write_checkpoint(trained_model, target, kept=kept, variant="cut", replacements={}, progress=silent)
        alone = perplexity(open_decoder(target, torch.device("cpu")), WINDOWS, "alone", silent)
        assert measured.loss == pytest.approx(alone.loss, rel=1e-5)
        assert measured.loss_stderr == pytest.approx(alone.loss_stderr, rel=1e-4)
