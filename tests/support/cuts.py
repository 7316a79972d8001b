"""Cuts of tiny models of six layers, their bridges, and how near they bring the stream to the original's."""

from dataclasses import dataclass
from pathlib import Path

import torch

from hf_prune.machine.progress import silent
from hf_prune.model.decoder import open_decoder, run_layers
from hf_prune.records.blocks import blocks_of
from hf_prune.stages.bridge.forms import FORMS
from hf_prune.stages.bridge.gaps import fit_bridges
from tests.support.plain import boundaries, plain_model, some_tokens, windows_of

CPU = torch.device("cpu")
TOKENS = some_tokens(24, 40)
WINDOWS = windows_of(TOKENS)


@dataclass(frozen=True)
class Without:
    removed: tuple[int, ...]

    @property
    def blocks(self):
        return blocks_of(self.removed)

    @property
    def kept(self):
        return tuple(layer for layer in range(6) if layer not in self.removed)


def without(*removed: int) -> Without:
    return Without(removed)


def build(folder: Path, cut: Without, form=FORMS["refit"]):
    decoder = open_decoder(folder, CPU)
    return decoder, *fit_bridges(decoder, WINDOWS, [(cut.blocks, form)], silent)[0]


def distance_to_original(decoder, folder, cut, replacements, boundary=None):
    """Mean squared distance at a boundary (None: after the last gap), position 0 left out."""
    end = cut.blocks[-1].end if boundary is None else boundary
    kept = [layer for layer in cut.kept if layer < end]
    reached = torch.cat(list(run_layers(decoder, decoder.enter(TOKENS), kept, replacements)))
    wanted = boundaries(plain_model(folder), TOKENS)[end]
    return (reached - wanted)[:, 1:].square().mean().item()
