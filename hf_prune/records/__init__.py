"""The frozen records that stages hand to each other, and their JSON form.

A record holds numbers, text and other records: never a tensor, a model or an open file. Layers are
numbered from 0 and blocks are half-open. The run folder is a list of these records; the card, `--json`
and other programs read the same thing.
"""

from hf_prune.records.around import Citation, Environment, Estimate, Published
from hf_prune.records.chosen import Block, BlockDistance, CutLosses, Plan, Selected, Tournament, Trial
from hf_prune.records.evaluated import (
    Agreement,
    Answer,
    Answers,
    Choices,
    Depth,
    DepthTable,
    Perplexity,
    Speculation,
    SpeculationTrial,
    Speed,
    SpeedTrial,
)
from hf_prune.records.grown import Growth, ProvedGrowth
from hf_prune.records.json_form import Record, fingerprint, from_data, to_json
from hf_prune.records.measured import LayerScores, Matrix, RemovalOrder, Similarity, TextTokens
from hf_prune.records.model import Anatomy, Check, Checkpoint, Proof, Source, WeightFile
from hf_prune.records.repaired import (
    Bridge,
    BridgeTrial,
    Contest,
    DepthLoss,
    FoldedBridge,
    Healing,
    HealingPlan,
    HealingStep,
    ProvedBridge,
    ProvedCut,
    ProvedHealing,
)

__all__ = [
    "Agreement",
    "Anatomy",
    "Answer",
    "Answers",
    "Block",
    "BlockDistance",
    "Bridge",
    "BridgeTrial",
    "Check",
    "Checkpoint",
    "Choices",
    "Citation",
    "Contest",
    "CutLosses",
    "Depth",
    "DepthLoss",
    "DepthTable",
    "Environment",
    "Estimate",
    "FoldedBridge",
    "Growth",
    "Healing",
    "HealingPlan",
    "HealingStep",
    "LayerScores",
    "Matrix",
    "Perplexity",
    "Plan",
    "Proof",
    "ProvedBridge",
    "ProvedCut",
    "ProvedGrowth",
    "ProvedHealing",
    "Published",
    "Record",
    "RemovalOrder",
    "Selected",
    "Similarity",
    "Source",
    "Speculation",
    "SpeculationTrial",
    "Speed",
    "SpeedTrial",
    "TextTokens",
    "Tournament",
    "Trial",
    "WeightFile",
    "fingerprint",
    "from_data",
    "to_json",
]
