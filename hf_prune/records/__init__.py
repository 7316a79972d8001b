"""The frozen records that stages hand to each other, and their JSON form.

A record holds numbers, text and other records: never a tensor, a model or an open file. Layers are
numbered from 0 and blocks are half-open. The run folder is a list of these records; the card, `--json`
and other programs read the same thing.
"""

from hf_prune.records.around import Citation, Environment, Estimate, Presentation, Published
from hf_prune.records.chosen import (
    Block,
    BlockDistance,
    CutAgreement,
    CutLosses,
    Plan,
    Selected,
    Tournament,
    Trial,
)
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
from hf_prune.records.exported import Export, ExportTrial
from hf_prune.records.grown import Growth, ProvedGrowth
from hf_prune.records.json_form import Record, fingerprint, from_data, to_json
from hf_prune.records.measured import LayerScores, Matrix, RemovalOrder, Similarity, TextTokens
from hf_prune.records.model import (
    DECODER,
    IMAGE_ENCODER,
    TEXT_ENCODER,
    Anatomy,
    Check,
    Checkpoint,
    Proof,
    Source,
    WeightFile,
)
from hf_prune.records.repaired import (
    Bridge,
    BridgeAgreement,
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
from hf_prune.records.scored import TaskScore, Writing

__all__ = [
    "DECODER",
    "IMAGE_ENCODER",
    "TEXT_ENCODER",
    "Agreement",
    "Anatomy",
    "Answer",
    "Answers",
    "Block",
    "BlockDistance",
    "Bridge",
    "BridgeAgreement",
    "BridgeTrial",
    "Check",
    "Checkpoint",
    "Choices",
    "Citation",
    "Contest",
    "CutAgreement",
    "CutLosses",
    "Depth",
    "DepthLoss",
    "DepthTable",
    "Environment",
    "Estimate",
    "Export",
    "ExportTrial",
    "FoldedBridge",
    "Growth",
    "Healing",
    "HealingPlan",
    "HealingStep",
    "LayerScores",
    "Matrix",
    "Perplexity",
    "Plan",
    "Presentation",
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
    "TaskScore",
    "TextTokens",
    "Tournament",
    "Trial",
    "WeightFile",
    "Writing",
    "fingerprint",
    "from_data",
    "to_json",
]
