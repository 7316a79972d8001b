"""Every measurement of one model, made once and kept by content.

What is kept depends on the model (its commit, or its files), the tokens it was measured on, the dtype and
the kind of device, and nothing else: another cut of the same model reads it and runs no layer.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hf_prune.machine.disk import write_whole
from hf_prune.machine.processes import ALONE, Ranks
from hf_prune.machine.progress import Reporter
from hf_prune.model.proof import check_streaming, proof_tokens
from hf_prune.records import LayerScores, Record, RemovalOrder, Similarity, fingerprint, from_data, to_json
from hf_prune.stages.measure.importance import drop_one, expand_one, greedy_removal, shapley
from hf_prune.stages.measure.similarity import measure
from hf_prune.stages.measure.taylor import taylor
from hf_prune.stages.original import Original


@dataclass
class Scores:
    """The measurements of one model on one text."""

    original: Original
    cache: Path  # a folder; files in it may be deleted at any time
    reporter: Reporter
    ranks: Ranks = ALONE

    def similarity(self) -> Similarity:
        """The one pass over the layers, by all processes together."""
        windows = self.original.calibration[0]
        key = self._key("similarity", windows.record.sha256)
        if self.ranks.agree(self._read(key, Similarity) is not None):
            self.reporter.tell("measured before on the same text: no pass needed")

        def compute() -> Similarity:
            check_streaming(self.original.decoder, proof_tokens(windows.ids))
            return measure(self.original.decoder, windows, self.reporter.progress, self.ranks)

        return self._kept(key, Similarity, compute)

    def of_layers(self, criterion: str, *, permutations: int = 0) -> LayerScores:
        """The scores of a criterion that takes passes of its own: "taylor", "loss", "expansion" or "shapley".

        Args:
            criterion: which.
            permutations: how often Shapley sampling shuffles the layers.
        """
        windows, progress = self.original.probe, self.reporter.progress
        decoder, seed = self.original.decoder, self.original.recipe.seed
        compute: dict[str, Callable[[], LayerScores]] = {
            "taylor": lambda: taylor(decoder, windows, progress),
            "loss": lambda: drop_one(decoder, windows, progress),
            "expansion": lambda: expand_one(decoder, windows, progress),
            "shapley": lambda: shapley(decoder, windows, permutations, seed, progress),
        }
        detail = f"{permutations}-{seed}" if criterion == "shapley" else ""
        return self._kept(
            self._key(criterion + detail, windows.record.sha256), LayerScores, compute[criterion]
        )

    def removal_order(
        self, similarity: Similarity, count: int, candidates: Sequence[int], width: int | None
    ) -> RemovalOrder:
        """The order in which a greedy search removes `count` layers.

        A search that tries every candidate goes on where an earlier one to a lesser depth ended.

        Args:
            similarity: with the scores of "loss", which say who is tried first.
            count: how many layers.
            candidates: the layers that may go.
            width: how many candidates each step tries; None: all.
        """
        windows, scores = self.original.probe, similarity.scores("loss")
        assert scores is not None
        if width is not None and width >= len(candidates):
            width = None
        depth = "" if width is None else f" {count} {width}"
        key = self._key(f"greedy{depth} of {sorted(candidates)}", windows.record.sha256)
        begun = self._read(key, RemovalOrder)
        if begun is None or len(begun.layers) < count:
            begun = greedy_removal(
                self.original.decoder,
                windows,
                count,
                self.reporter.progress,
                candidates=sorted(candidates, key=lambda layer: (scores[layer], layer)),
                width=width,
                begun=begun,
            )
            self._keep(key, begun)
        return replace(begun, layers=begun.layers[:count], losses=begun.losses[:count])

    def _key(self, what: str, tokens: str) -> str:
        decoder = self.original.decoder
        identity = (self.original.identity, self.original.source.gguf_file, tokens, what)
        return fingerprint(*identity, str(decoder.dtype), decoder.device.type, version("hf-prune"))

    def _kept(self, key: str, kind: type[Record], compute: Callable[[], Record]) -> Record:
        found = self._read(key, kind)
        if found is not None:
            return found
        record = compute()
        self._keep(key, record)
        return record

    def _keep(self, key: str, record: Any) -> None:
        write_whole(self.cache / f"{key}.json", to_json(record))

    def _read(self, key: str, kind: type[Record]) -> Record | None:
        path = self.cache / f"{key}.json"
        try:
            return from_data(kind, json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError):  # not there, or not whole: measured again
            return None


def with_scores(similarity: Similarity, scores: LayerScores) -> Similarity:
    """The same with the scores of one more criterion."""
    others = tuple(s for s in similarity.layer_scores if s.criterion != scores.criterion)
    return replace(similarity, layer_scores=(*others, scores))


def measured_together(original: Original, cache: Path, ranks: Ranks, reporter: Reporter) -> None:
    """The one pass by several processes; the first keeps the result, the others are free to go."""
    scores = Scores(original, cache, reporter, ranks)
    if ranks.leads:
        scores.similarity()
    elif not ranks.agree(False):
        measure(original.decoder, original.calibration[0], reporter.progress, ranks)
