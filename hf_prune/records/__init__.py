"""The frozen records that stages hand to each other, and their JSON form.

A record holds numbers, text and other records: never a tensor, a model or an open file. Layers are
numbered from 0 and blocks are half-open. The run folder is a list of these records; the card, `--json`
and other programs read the same thing.
"""

from hf_prune.records.attempt import NOT_ASKED_FOR, Attempt
from hf_prune.records.chosen import (
    Block,
    BlockDistance,
    CutAgreement,
    CutLosses,
    LayerCount,
    NamedLayers,
    Plan,
    Removal,
    Selected,
    Tournament,
    Trial,
    WithinLoss,
)
from hf_prune.records.context import Citation, Environment, Estimate, Presentation, Published
from hf_prune.records.evaluated import (
    Agreement,
    Answer,
    Choices,
    Depth,
    Perplexity,
    Speculation,
    Speed,
    SpeedUp,
)
from hf_prune.records.exported import Export
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
from hf_prune.records.previous import PreviousVersion
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
from hf_prune.records.scored import (
    AskedTask,
    AskedTasks,
    Continuations,
    TaskScore,
    Writing,
)
from hf_prune.records.variants import Evaluated, Variant

__all__ = [
    "DECODER",
    "IMAGE_ENCODER",
    "TEXT_ENCODER",
    "NOT_ASKED_FOR",
    "Agreement",
    "Anatomy",
    "Answer",
    "AskedTask",
    "AskedTasks",
    "Attempt",
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
    "Continuations",
    "CutAgreement",
    "CutLosses",
    "Depth",
    "DepthLoss",
    "Environment",
    "Estimate",
    "Evaluated",
    "Export",
    "FoldedBridge",
    "Growth",
    "Healing",
    "HealingPlan",
    "HealingStep",
    "LayerCount",
    "LayerScores",
    "Matrix",
    "NamedLayers",
    "Perplexity",
    "Plan",
    "Presentation",
    "PreviousVersion",
    "Proof",
    "ProvedBridge",
    "ProvedCut",
    "ProvedGrowth",
    "ProvedHealing",
    "Published",
    "Record",
    "Removal",
    "RemovalOrder",
    "Selected",
    "Similarity",
    "Source",
    "Speculation",
    "Speed",
    "SpeedUp",
    "TaskScore",
    "TextTokens",
    "Tournament",
    "Trial",
    "Variant",
    "WeightFile",
    "WithinLoss",
    "Writing",
    "fingerprint",
    "from_data",
    "to_json",
]
