"""Cuts tried on text, each with its bridge where bridges are wanted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from torch import Tensor

from hf_prune.machine.progress import Progress
from hf_prune.model.activations import Activations
from hf_prune.model.decoder import StreamedDecoder
from hf_prune.model.weights import TensorsOnDemand
from hf_prune.records import CutLosses
from hf_prune.records.blocks import all_but, blocks_of
from hf_prune.stages.bridge.forms import TRIAL
from hf_prune.stages.bridge.gaps import fit_bridges
from hf_prune.stages.choose.tournament import Removed
from hf_prune.stages.measure.ablation import Cut, try_cuts
from hf_prune.stages.measure.agreement import try_agreements
from hf_prune.stages.original import Original
from hf_prune.stages.texts.windows import Windows, windows_part

TRIAL_SEQUENCES = 16  # windows that the bridges of a tournament are fitted on
NO_BRIDGE: Mapping[str, Tensor] = {}


def _shelved(decoder: StreamedDecoder, tensors: Mapping[str, Tensor]) -> TensorsOnDemand:
    """Tensors by name, kept like activations: in memory while they fit, else in a file."""
    kept = Activations(decoder.memory)
    for tensor in tensors.values():
        kept.append(tensor.to(decoder.dtype))
    return TensorsOnDemand({name: partial(kept.__getitem__, place) for place, name in enumerate(tensors)})


@dataclass
class Trials:
    """Tries cuts of one model on parts of one text; a bridge is fitted when its cut first comes up."""

    decoder: StreamedDecoder
    fitted_on: Windows | None  # what bridges are fitted on; None: no bridges
    tried_on: Windows
    progress: Progress
    _bridges: dict[Removed, Mapping[str, Tensor]] = field(default_factory=dict)

    @property
    def bridge_tokens(self) -> int:
        """Tokens that each bridge is fitted on; 0: no bridges."""
        return 0 if self.fitted_on is None else self.fitted_on.ids.numel()

    def __call__(self, cuts: Sequence[Removed], first: int, end: int) -> list[CutLosses]:
        """The losses of cuts on the windows from `first` to `end`.

        Args:
            cuts: the layers that each removes; none for the original.
            first: number of a window.
            end: the one after the last.
        """
        tried = self._bridged(cuts)
        part = windows_part(self.tried_on, first, end)
        return try_cuts(self.decoder, part, tried, self.progress, f"trying {len(cuts)} cuts")

    def agreements(self, cuts: Sequence[Removed]) -> list[tuple[float, bool]]:
        """How near the final states of cuts are to the original's, and whether each has a bridge.

        The first is the mean cosine on all windows.
        """
        tried, label = self._bridged(cuts), f"trying {len(cuts)} cuts"
        cosines = try_agreements(self.decoder, self.tried_on, tried, self.progress, label)
        return [(cosine, bool(cut.replacements)) for cosine, cut in zip(cosines, tried, strict=True)]

    def _bridged(self, cuts: Sequence[Removed]) -> list[Cut]:
        new = [cut for cut in cuts if cut and cut not in self._bridges]
        if new and self.fitted_on is not None:
            wanted = [(blocks_of(cut), TRIAL) for cut in new]
            fitted = fit_bridges(self.decoder, self.fitted_on, wanted, self.progress)
            for cut, (_, solved) in zip(new, fitted, strict=True):
                self._bridges[cut] = _shelved(self.decoder, solved)
        layers = self.decoder.num_layers
        return [Cut(all_but(cut, layers), self._bridges.get(cut, NO_BRIDGE)) for cut in cuts]


def trials_of(original: Original, progress: Progress) -> Trials:
    """Trials of an original's cuts as its recipe asks for them: bridged unless `--bridge none`."""
    fitted, tried_on = original.calibration
    bridged = original.recipe.bridge != "none"
    return Trials(
        decoder=original.decoder,
        fitted_on=windows_part(fitted, 0, min(TRIAL_SEQUENCES, len(fitted.ids))) if bridged else None,
        tried_on=tried_on,
        progress=progress,
    )
