"""The frozen records that stages hand to each other, and their JSON form.

A record holds numbers, text and other records: never a tensor, a model or an open file. Layers are
numbered from 0 and blocks are half-open. The run folder is a list of these records; the card, `--json`
and other programs read the same thing.
"""

from hf_prune.records.chosen import Block as Block
from hf_prune.records.chosen import BlockDistance as BlockDistance
from hf_prune.records.chosen import CutAgreement as CutAgreement
from hf_prune.records.chosen import CutLosses as CutLosses
from hf_prune.records.chosen import LayerCount as LayerCount
from hf_prune.records.chosen import NamedLayers as NamedLayers
from hf_prune.records.chosen import Plan as Plan
from hf_prune.records.chosen import Removal as Removal
from hf_prune.records.chosen import Selected as Selected
from hf_prune.records.chosen import Tournament as Tournament
from hf_prune.records.chosen import Trial as Trial
from hf_prune.records.chosen import WithinLoss as WithinLoss
from hf_prune.records.context import Citation as Citation
from hf_prune.records.context import Environment as Environment
from hf_prune.records.context import Estimate as Estimate
from hf_prune.records.context import Presentation as Presentation
from hf_prune.records.context import Published as Published
from hf_prune.records.evaluated import NOT_ASKED_FOR as NOT_ASKED_FOR
from hf_prune.records.evaluated import Agreement as Agreement
from hf_prune.records.evaluated import Answer as Answer
from hf_prune.records.evaluated import AskedTask as AskedTask
from hf_prune.records.evaluated import AskedTasks as AskedTasks
from hf_prune.records.evaluated import Attempt as Attempt
from hf_prune.records.evaluated import Choices as Choices
from hf_prune.records.evaluated import Continuations as Continuations
from hf_prune.records.evaluated import Depth as Depth
from hf_prune.records.evaluated import Evaluated as Evaluated
from hf_prune.records.evaluated import Perplexity as Perplexity
from hf_prune.records.evaluated import PreviousVersion as PreviousVersion
from hf_prune.records.evaluated import Speculation as Speculation
from hf_prune.records.evaluated import Speed as Speed
from hf_prune.records.evaluated import SpeedUp as SpeedUp
from hf_prune.records.evaluated import TaskScore as TaskScore
from hf_prune.records.evaluated import Variant as Variant
from hf_prune.records.evaluated import Writing as Writing
from hf_prune.records.json_form import Record as Record
from hf_prune.records.json_form import fingerprint as fingerprint
from hf_prune.records.json_form import from_data as from_data
from hf_prune.records.json_form import to_json as to_json
from hf_prune.records.measured import LayerScores as LayerScores
from hf_prune.records.measured import Matrix as Matrix
from hf_prune.records.measured import RemovalOrder as RemovalOrder
from hf_prune.records.measured import Similarity as Similarity
from hf_prune.records.measured import TextTokens as TextTokens
from hf_prune.records.model import DECODER as DECODER
from hf_prune.records.model import IMAGE_ENCODER as IMAGE_ENCODER
from hf_prune.records.model import TEXT_ENCODER as TEXT_ENCODER
from hf_prune.records.model import Anatomy as Anatomy
from hf_prune.records.model import Check as Check
from hf_prune.records.model import Checkpoint as Checkpoint
from hf_prune.records.model import Export as Export
from hf_prune.records.model import Proof as Proof
from hf_prune.records.model import Source as Source
from hf_prune.records.model import WeightFile as WeightFile
from hf_prune.records.repaired import Bridge as Bridge
from hf_prune.records.repaired import BridgeAgreement as BridgeAgreement
from hf_prune.records.repaired import BridgeTrial as BridgeTrial
from hf_prune.records.repaired import Contest as Contest
from hf_prune.records.repaired import DepthLoss as DepthLoss
from hf_prune.records.repaired import FoldedBridge as FoldedBridge
from hf_prune.records.repaired import Growth as Growth
from hf_prune.records.repaired import Healing as Healing
from hf_prune.records.repaired import HealingPlan as HealingPlan
from hf_prune.records.repaired import HealingStep as HealingStep
from hf_prune.records.repaired import Proved as Proved
from hf_prune.records.repaired import ProvedBridge as ProvedBridge
from hf_prune.records.repaired import ProvedGrowth as ProvedGrowth
from hf_prune.records.repaired import ProvedHealing as ProvedHealing
