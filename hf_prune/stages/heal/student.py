"""The shorter model as it is trained: which of its parameters may move, and what its loss is."""

import os
import random
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import torch
from bitsandbytes.nn.modules import Linear4bit
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from transformers import BitsAndBytesConfig

from hf_prune.errors import UnsupportedModel
from hf_prune.model.anatomy import describe, torch_dtype
from hf_prune.model.model_class import auto_class
from hf_prune.model.projections import is_transposed, output_width
from hf_prune.model.skeleton import Skeleton
from hf_prune.records import HealingPlan
from hf_prune.stages.heal.boundary_states import BoundaryStates, StopForward
from hf_prune.stages.heal.depths import Depths
from hf_prune.stages.heal.objective import prediction_loss, state_loss, text_loss

ADAPTER = "default"  # peft's own name for the first
DROPOUT = 0.05  # Gromov et al. (2403.17887), who learn text; the original's predictions need none


class Student(nn.Module):
    """A model whose forward pass is the loss of a batch, and whose state is what is trained."""

    def __init__(self, model: Any, layers: nn.ModuleList, carriers: Sequence[int], plan: HealingPlan) -> None:
        """Args: `carriers` are the layers before the gaps, whose output may have to be the original's."""
        super().__init__()
        self.model, self.plan = model, plan
        # Trainer.train has accelerate prepare the model: FSDP shards each module of these classes by itself.
        present = {type(module).__name__ for module in model.modules()}
        layer_classes = set(getattr(model, "_no_split_modules", None) or ())
        self._no_split_modules = sorted(layer_classes & present)
        # Trainer._save writes all that state_dict() gives: only what is trained is worth the disk.
        nn.Module.register_state_dict_post_hook(self, _drop_frozen)
        # Trainer._load_from_checkpoint warns of missing keys, and accelerate's loading under FSDP refuses
        # them: the frozen ones were never saved.
        nn.Module.register_load_state_dict_post_hook(self, _expect_trained_only)
        # Trainer._issue_warnings_after_load reads this attribute of a PreTrainedModel if keys are missing.
        self._keys_to_ignore_on_save = None
        self._depths = Depths(layers) if plan.depths else None
        recorded = carriers if plan.boundary_loss else ()
        self._boundary_states = BoundaryStates(layers, recorded, stop_after_last=plan.objective == "states")

    def forward(
        self,
        ids: Tensor,
        loss_mask: Tensor,
        top_ids: Tensor | None = None,
        top_logprobs: Tensor | None = None,
        states: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """The loss of what the plan teaches; in evaluation that of the text.

        Args: `states` are the original's after each gap, (windows, gaps, length, hidden). For the others see
        `text_loss` and `prediction_loss`.
        """
        self._boundary_states.recorded.clear()  # also of what gradient checkpointing ran again
        losses: list[Tensor] = []
        with suppress(StopForward):  # where states alone are learnt, no logits are computed
            losses.append(self._loss_of_logits(ids, loss_mask, top_ids, top_logprobs))
        if self.training and states is not None:
            pairs = zip(self._boundary_states.recorded, states.unbind(1), strict=True)
            distances = torch.stack([state_loss(reached, original) for reached, original in pairs])
            losses.append(self.plan.boundary_loss * distances.mean())
        return {"loss": torch.stack(losses).sum()}

    def _loss_of_logits(
        self, ids: Tensor, loss_mask: Tensor, top_ids: Tensor | None, top_logprobs: Tensor | None
    ) -> Tensor:
        losses = [
            prediction_loss(logits, top_ids, top_logprobs, loss_mask)
            if self.training and top_ids is not None and top_logprobs is not None
            else text_loss(logits, ids, loss_mask)
            for logits in self._logits(ids)
        ]
        return torch.stack(losses).mean()

    def _logits(self, ids: Tensor) -> Iterator[Tensor]:
        """The model's logits; of a sorted one those of each depth, the deepest first (2309.08968, section 3).

        Where each step draws one depth, its tokens decide which: a resumed training draws the same.
        """
        run = partial(self.model, input_ids=ids, use_cache=False)
        if self._depths is None:
            yield run().logits
        elif self.training and self.plan.sample_depths:
            with self._depths.only(random.Random(int(ids.sum())).choice(self.plan.depths)):
                yield run().logits
        else:
            *shallower, _ = self.plan.depths
            with self._depths.watched(tuple(shallower)) as states:
                yield run().logits
            for depth in shallower:
                with self._depths.answering(states[depth]):
                    yield run().logits


def _trained_names(student: nn.Module) -> set[str]:
    return {name for name, parameter in student.named_parameters() if parameter.requires_grad}


def _drop_frozen(student: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
    trained = {f"{prefix}{name}" for name in _trained_names(student)}
    for name in [name for name in state if name not in trained]:
        del state[name]


def _expect_trained_only(student: nn.Module, incompatible: Any) -> None:
    trained = _trained_names(student)
    incompatible.missing_keys[:] = [name for name in incompatible.missing_keys if name in trained]


def is_sharded() -> bool:
    """Whether accelerate shards the weights over the processes (FSDP): one device may not hold them all."""
    return os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true"


def load_student(
    skeleton: Skeleton,
    plan: HealingPlan,
    carriers: tuple[int, ...],
    device: torch.device,
    new_layers: tuple[int, ...] = (),
) -> Student:
    """Load a checkpoint and make what the plan trains trainable, and nothing else.

    Trained parameters are in float32, the others as they are stored, or in 4 bits (QLoRA, 2305.14314).
    Weights that will be sharded stay on the CPU until then, except those in 4 bits.

    Args:
        carriers: the layers before the gaps, numbered as in the shorter model.
        new_layers: the layers that `grown` trains, numbered likewise.

    Raises:
        UnsupportedModel: the model has nothing that the plan could train.
    """
    dtype = torch_dtype(describe(skeleton).dtype, device)
    options: dict[str, Any] = {"dtype": dtype, "trust_remote_code": skeleton.trust_remote_code}
    if plan.method == "qlora":
        options["device_map"] = {"": str(device)}
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
            bnb_4bit_quant_storage=dtype,  # what FSDP needs to shard it
        )
    model: Any = auto_class(skeleton.whole_config).from_pretrained(skeleton.index.folder, **options)
    if plan.method != "qlora":
        model = model if is_sharded() else model.to(device)
    elif device.type == "cpu":  # bitsandbytes would repack 4-bit weights whenever the text is watched
        for module in model.modules():
            if isinstance(module, Linear4bit):
                module.support_avx512bf16_for_cpu = False
    model.requires_grad_(False)
    layers = model.get_submodule(skeleton.layer_path)
    if plan.method in ("lora", "qlora"):
        _add_adapters(model, skeleton, plan)
    else:
        alone = carriers if plan.method == "replace" else new_layers
        _unfreeze(model, skeleton, _trained_modules(model, layers, plan, alone))
    if plan.gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    return Student(model, layers, carriers, plan)


def adapted_projections(skeleton: Skeleton, targets: str) -> list[str]:
    """The names of the linear projections that LoRA can be folded into: those stored as they are used.

    Args: `targets` is "all", or "ffn" for those outside attention.
    """
    attention = re.compile("attn|attention", re.IGNORECASE)
    return [
        name
        for name, module in skeleton.model.named_modules()
        if name.startswith(f"{skeleton.layer_path}.")
        and output_width(module) is not None
        and skeleton.stored_name(f"{name}.weight") is not None
        and (targets == "all" or not attention.search(name))
    ]


def _add_adapters(model: Any, skeleton: Skeleton, plan: HealingPlan) -> None:
    targets = adapted_projections(skeleton, plan.targets)
    if not targets:
        raise UnsupportedModel(
            f"{skeleton.config.model_type} stores no projection of its layers as it is used, so LoRA could "
            f"not be folded into any: use --heal partial or --heal none"
        )
    config = LoraConfig(
        r=plan.rank,
        lora_alpha=plan.alpha or plan.rank,
        lora_dropout=DROPOUT if plan.objective == "text" else 0.0,
        target_modules=targets,
        fan_in_fan_out=is_transposed(model.get_submodule(targets[0])),
    )
    inject_adapter_in_model(config, model, adapter_name=ADAPTER)
    for _, layer in adapters(model):
        for part in (layer.lora_A, layer.lora_B):
            part.float().requires_grad_(True)


def adapters(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """The projections that carry an adapter, by name."""
    return ((name, module) for name, module in model.named_modules() if isinstance(module, LoraLayer))


def _unfreeze(model: Any, skeleton: Skeleton, modules: list[nn.Module]) -> None:
    """Make the parameters of modules trainable, except those that the checkpoint does not store as such."""
    head = model.get_output_embeddings()
    untied = head is not None and head.weight is not model.get_input_embeddings().weight
    chosen = {id(parameter) for module in modules for parameter in module.parameters()}
    for module in modules:
        module.float()  # in place: the parameters stay the same objects
    for name, parameter in model.named_parameters():
        stored = skeleton.stored_name(name) is not None or (untied and parameter is head.weight)
        parameter.requires_grad_(id(parameter) in chosen and stored)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UnsupportedModel(
            f"{skeleton.config.model_type} stores nothing that would be trained as it is used: "
            f"use --heal none"
        )


def _trained_modules(
    model: Any, layers: nn.ModuleList, plan: HealingPlan, alone: Sequence[int]
) -> list[nn.Module]:
    """What a method trains whole; for `partial` the last layers, the final norm and maybe the head."""
    if plan.method == "sorted":
        return [model]
    if plan.method in ("replace", "grown"):
        return [layers[number] for number in alone]
    modules = [*layers[len(layers) - plan.last_layers :], *_final_norms(model)]
    if plan.train_head:
        head = model.get_output_embeddings()
        if head.weight is model.get_input_embeddings().weight:
            head.weight = nn.Parameter(head.weight.detach().clone())
        modules.append(head)
    return modules


def _final_norms(model: Any) -> list[nn.Module]:
    """The norms outside the layers: modules without parts whose parameters have one dimension."""
    head = model.get_output_embeddings()
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    inside = {id(module) for layers in lists for layer in layers for module in layer.modules()}
    return [
        module
        for module in model.modules()
        if id(module) not in inside
        and module is not head
        and not list(module.children())
        and (own := list(module.parameters()))
        and all(parameter.dim() == 1 for parameter in own)
    ]
