"""A cache of the measurements of one model: each is made once and kept by content.

The key of a measurement depends on the model (its commit, or its files), the tokens it was measured on, the
dtype and the kind of device, and nothing else. Another cut of the same model reads it and runs no layer.
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
class Measurements:
    """The measurements of one model on one text. A measurement that is not in the cache is made."""

    original: Original
    cache: Path  # a folder; its files may be deleted at any time
    reporter: Reporter
    ranks: Ranks = ALONE

    def similarity(self) -> Similarity:
        """The comparison of all layer boundaries, which all processes make together."""
        windows = self.original.calibration
        key = self._key("similarity", windows.record.sha256)
        if self.ranks.broadcast(self._load(key, Similarity) is not None):
            self.reporter.tell("measured before on the same text: no pass needed")

        def compute() -> Similarity:
            check_streaming(self.original.decoder, proof_tokens(windows.ids))
            return measure(self.original.decoder, windows, self.reporter.progress, self.ranks)

        return self._load_or_compute(key, Similarity, compute)

    def layer_scores(self, criterion: str, *, permutations: int = 0) -> LayerScores:
        """The scores of a criterion with passes of its own: "taylor", "loss", "expansion" or "shapley"."""
        windows, progress = self.original.short_calibration, self.reporter.progress
        decoder, seed = self.original.decoder, self.original.recipe.seed
        compute: dict[str, Callable[[], LayerScores]] = {
            "taylor": lambda: taylor(decoder, windows, progress),
            "loss": lambda: drop_one(decoder, windows, progress),
            "expansion": lambda: expand_one(decoder, windows, progress),
            "shapley": lambda: shapley(decoder, windows, permutations, seed, progress),
        }
        detail = f"{permutations}-{seed}" if criterion == "shapley" else ""
        key = self._key(criterion + detail, windows.record.sha256)
        return self._load_or_compute(key, LayerScores, compute[criterion])

    def removal_order(
        self, similarity: Similarity, count: int, candidates: Sequence[int], width: int | None
    ) -> RemovalOrder:
        """The order in which a greedy search removes `count` layers.

        A search that tries every candidate (`width` is None) continues an earlier one that removed fewer
        layers. The similarity must have the scores of "loss", which decide what is tried first.
        """
        windows, scores = self.original.short_calibration, similarity.scores("loss")
        assert scores is not None
        if width is not None and width >= len(candidates):
            width = None
        depth = "" if width is None else f" {count} {width}"
        key = self._key(f"greedy{depth} of {sorted(candidates)}", windows.record.sha256)
        order = self._load(key, RemovalOrder)
        if order is None or len(order.layers) < count:
            order = greedy_removal(
                self.original.decoder,
                windows,
                count,
                self.reporter.progress,
                candidates=sorted(candidates, key=lambda layer: (scores[layer], layer)),
                width=width,
                previous=order,
            )
            self._store(key, order)
        return replace(order, layers=order.layers[:count], losses=order.losses[:count])

    def _key(self, measurement: str, tokens: str) -> str:
        decoder = self.original.decoder
        identity = (self.original.identity, self.original.source.gguf_file, tokens, measurement)
        return fingerprint(*identity, str(decoder.dtype), decoder.device.type, version("hf-prune"))

    def _load_or_compute(self, key: str, kind: type[Record], compute: Callable[[], Record]) -> Record:
        record = self._load(key, kind)
        if record is None:
            record = compute()
            self._store(key, record)
        return record

    def _store(self, key: str, record: Any) -> None:
        write_whole(self.cache / f"{key}.json", to_json(record))

    def _load(self, key: str, kind: type[Record]) -> Record | None:
        path = self.cache / f"{key}.json"
        try:
            return from_data(kind, json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError):  # missing or damaged: measured again
            return None


def with_scores(similarity: Similarity, scores: LayerScores) -> Similarity:
    """The similarity with the scores of one more criterion."""
    others = tuple(s for s in similarity.layer_scores if s.criterion != scores.criterion)
    return replace(similarity, layer_scores=(*others, scores))


def measure_together(original: Original, cache: Path, ranks: Ranks, reporter: Reporter) -> None:
    """Measure the similarity by several processes. The first stores it, and the others are then free."""
    measurements = Measurements(original, cache, reporter, ranks)
    if ranks.leads:
        measurements.similarity()
    elif not ranks.broadcast(False):
        measure(original.decoder, original.calibration, reporter.progress, ranks)
