"""Trials of cuts on text, each with its bridge if bridges are used."""

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


def _stored(decoder: StreamedDecoder, tensors: Mapping[str, Tensor]) -> TensorsOnDemand:
    """Tensors by name, stored like activations: in memory while they fit, else in a file."""
    stored = Activations(decoder.memory)
    for tensor in tensors.values():
        stored.append(tensor.to(decoder.dtype))
    return TensorsOnDemand({name: partial(stored.__getitem__, n) for n, name in enumerate(tensors)})


@dataclass
class Trials:
    """Tries cuts of one model on parts of one text. A bridge is fitted when its cut is first tried."""

    decoder: StreamedDecoder
    fitted_on: Windows | None  # calibration windows for the bridges; None: no bridges
    tried_on: Windows
    progress: Progress
    _bridges: dict[Removed, Mapping[str, Tensor]] = field(default_factory=dict)

    @property
    def bridge_tokens(self) -> int:
        """Tokens that each bridge is fitted on; 0: no bridges."""
        return 0 if self.fitted_on is None else self.fitted_on.ids.numel()

    def __call__(self, cuts: Sequence[Removed], first: int, end: int) -> list[CutLosses]:
        """The losses of cuts on the windows from `first` to before `end`. () stands for the original."""
        tried = self._bridged(cuts)
        part = windows_part(self.tried_on, first, end)
        return try_cuts(self.decoder, part, tried, self.progress, f"trying {len(cuts)} cuts")

    def agreements(self, cuts: Sequence[Removed]) -> list[tuple[float, bool]]:
        """The cosine of each cut's final states with the original's, and whether the cut has a bridge."""
        tried, label = self._bridged(cuts), f"trying {len(cuts)} cuts"
        cosines = try_agreements(self.decoder, self.tried_on, tried, self.progress, label)
        return [(cosine, bool(cut.replacements)) for cosine, cut in zip(cosines, tried, strict=True)]

    def _bridged(self, cuts: Sequence[Removed]) -> list[Cut]:
        new = [cut for cut in cuts if cut and cut not in self._bridges]
        if new and self.fitted_on is not None:
            forms = [(blocks_of(cut), TRIAL) for cut in new]
            fitted = fit_bridges(self.decoder, self.fitted_on, forms, self.progress)
            for cut, (_, solved) in zip(new, fitted, strict=True):
                self._bridges[cut] = _stored(self.decoder, solved)
        layers = self.decoder.num_layers
        return [Cut(all_but(cut, layers), self._bridges.get(cut, NO_BRIDGE)) for cut in cuts]


def trials_of(original: Original, progress: Progress) -> Trials:
    """Trials of an original's cuts as its recipe has them: with bridges unless `--bridge none`."""
    fitted, tried_on = original.calibration, original.selection
    bridged = original.recipe.bridge != "none"
    return Trials(
        decoder=original.decoder,
        fitted_on=windows_part(fitted, 0, min(TRIAL_SEQUENCES, len(fitted.ids))) if bridged else None,
        tried_on=tried_on,
        progress=progress,
    )
