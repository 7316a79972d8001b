"""The shorter model as it is trained: which of its numbers may move, and what its loss is."""

import os
import random
from collections.abc import Iterator, Sequence
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
from hf_prune.stages.heal.depths import Depths
from hf_prune.stages.heal.objective import prediction_loss, state_loss, text_loss

ADAPTER = "default"  # peft's own name for the first
DROPOUT = 0.05  # Gromov et al. (2403.17887), who learn text; the original's predictions need none


class _Reached(Exception):
    """The layer after which nothing is needed has been run."""


class Student(nn.Module):
    """A model whose forward pass is the loss of a batch.

    Its `state_dict` holds what is trained: that alone is worth saving, however large the rest is. No more
    than that has to be in what it loads.
    """

    def __init__(self, model: Any, layers: nn.ModuleList, carriers: Sequence[int], plan: HealingPlan) -> None:
        """Args: `carriers` are the layers before the gaps, whose output may have to be the original's."""
        super().__init__()
        self.model = model
        self.plan = plan
        present = {type(module).__name__ for module in model.modules()}
        named = set(getattr(model, "_no_split_modules", None) or ())
        self._no_split_modules = sorted(named & present)  # FSDP asks for it: the layers
        nn.Module.register_state_dict_post_hook(self, _leave_out_what_is_frozen)
        nn.Module.register_load_state_dict_post_hook(self, _miss_only_what_is_trained)
        self._keys_to_ignore_on_save = None  # the Trainer asks for it
        self._states: list[Tensor] = []
        self._depths = Depths(layers) if plan.depths else None
        if plan.boundary_loss:
            for carrier in carriers:
                layers[carrier].register_forward_hook(self._note)
            if plan.objective == "states":
                layers[carriers[-1]].register_forward_hook(self._stop)

    def forward(
        self,
        ids: Tensor,
        wanted: Tensor,
        top_ids: Tensor | None = None,
        top_logprobs: Tensor | None = None,
        states: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """The loss of what the plan teaches; in evaluation that of the text.

        Args:
            ids: (windows, length).
            wanted: which tokens are to be predicted, (windows, length).
            top_ids: the original's most likely next tokens, (windows, length - 1, top).
            top_logprobs: their log-probabilities, (windows, length - 1, top).
            states: the original's after each gap, (windows, gaps, length, hidden).
        """
        self._states = []
        losses: list[Tensor] = []
        try:
            each = [
                prediction_loss(logits, top_ids, top_logprobs, wanted)
                if self.training and top_ids is not None and top_logprobs is not None
                else text_loss(logits, ids, wanted)
                for logits in self._logits(ids)
            ]
            losses.append(torch.stack(each).mean())
        except _Reached:
            pass
        if self.training and states is not None and self.plan.boundary_loss:
            pairs = zip(self._states, states.unbind(1), strict=True)
            apart = torch.stack([state_loss(reached, wished) for reached, wished in pairs])
            losses.append(self.plan.boundary_loss * apart.mean())
        return {"loss": torch.stack(losses).sum()}

    def _logits(self, ids: Tensor) -> Iterator[Tensor]:
        """Of the model; of a sorted one, of each of its depths, the deepest first (2309.08968, section 3).

        Where one depth is drawn a step, the tokens decide which: a training that goes on draws the same.
        """
        if self._depths is None:
            yield self.model(input_ids=ids, use_cache=False).logits
            return
        if self.training and self.plan.sample_depths:
            depth = random.Random(int(ids.sum())).choice(self.plan.depths)
            with self._depths.only(depth):
                yield self.model(input_ids=ids, use_cache=False).logits
            return
        *shallower, _ = self.plan.depths
        with self._depths.watched(tuple(shallower)) as states:
            yield self.model(input_ids=ids, use_cache=False).logits
        for depth in shallower:
            with self._depths.answering(states[depth]):
                yield self.model(input_ids=ids, use_cache=False).logits

    def _note(self, _: nn.Module, __: Any, output: Any) -> None:
        if self.training:
            self._states.append(output[0] if isinstance(output, tuple | list) else output)

    def _stop(self, *_: Any) -> None:
        if self.training:
            raise _Reached


def _trained_names(student: nn.Module) -> set[str]:
    return {name for name, parameter in student.named_parameters() if parameter.requires_grad}


def _leave_out_what_is_frozen(student: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
    trained = {f"{prefix}{name}" for name in _trained_names(student)}
    for name in [name for name in state if name not in trained]:
        del state[name]


def _miss_only_what_is_trained(student: nn.Module, found: Any) -> None:
    trained = _trained_names(student)
    found.missing_keys[:] = [name for name in found.missing_keys if name in trained]


def is_shared_out() -> bool:
    """Whether accelerate shares the weights out among the processes (FSDP): one device may not hold all."""
    return os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true"


def load_student(
    skeleton: Skeleton,
    plan: HealingPlan,
    carriers: tuple[int, ...],
    device: torch.device,
    new_layers: tuple[int, ...] = (),
) -> Student:
    """The model in a checkpoint, with what the plan trains, and nothing else, made trainable.

    What is trained is kept in float32, the rest as it is stored, or in 4 bits (QLoRA, 2305.14314). Weights
    that will be shared out stay on the CPU until they are, but for those in 4 bits.

    Args:
        skeleton: of the shorter model's checkpoint.
        plan: what to train.
        carriers: the layers before the gaps, numbered as in the shorter model.
        device: where it is trained.
        new_layers: that `grown` trains.

    Raises:
        UnsupportedModel: there is nothing in it that the plan could train.
    """
    dtype = torch_dtype(describe(skeleton).dtype, device)
    settings: dict[str, Any] = {"dtype": dtype, "trust_remote_code": skeleton.trust_remote_code}
    if plan.method == "qlora":
        settings["device_map"] = {"": str(device)}
        settings["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
            bnb_4bit_quant_storage=dtype,  # what FSDP needs to shard it
        )
    model: Any = auto_class(skeleton.whole_config).from_pretrained(skeleton.index.folder, **settings)
    if plan.method != "qlora":
        model = model if is_shared_out() else model.to(device)
    elif device.type == "cpu":
        _keep_unpacked(model)
    model.requires_grad_(False)
    layers = model.get_submodule(skeleton.layer_path)
    if plan.method in ("lora", "qlora"):
        _add_adapters(model, skeleton, plan)
    else:
        _free(model, skeleton, _trained_modules(model, layers, plan, carriers, new_layers))
    if plan.gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    return Student(model, layers, carriers, plan)


def _keep_unpacked(model: nn.Module) -> None:
    """On a CPU, bitsandbytes would repack 4-bit weights for inference whenever the text is watched."""
    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


def adapted_projections(skeleton: Skeleton, targets: str) -> list[str]:
    """The linear projections of the layers that LoRA can be folded into: they are stored as they are used.

    Args:
        skeleton: of the shorter model.
        targets: "all", or "ffn" for those outside attention.

    Returns:
        Their names among the model's modules.
    """
    inside = f"{skeleton.layer_path}."
    return [
        name
        for name, module in skeleton.model.named_modules()
        if name.startswith(inside)
        and output_width(module) is not None
        and skeleton.stored_name(f"{name}.weight") is not None
        and (targets == "all" or not _in_attention(name))
    ]


def _in_attention(name: str) -> bool:
    return any("attn" in part or "attention" in part for part in name.lower().split("."))


def _add_adapters(model: Any, skeleton: Skeleton, plan: HealingPlan) -> None:
    targets = adapted_projections(skeleton, plan.targets)
    if not targets:
        raise UnsupportedModel(
            f"no projection of {skeleton.config.model_type}'s layers is stored as it is used, so LoRA could "
            f"not be folded into any: --heal partial or none"
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


def _free(model: Any, skeleton: Skeleton, modules: list[nn.Module]) -> None:
    """Make the parameters of modules trainable, but for those that a checkpoint could not take back."""
    head = model.get_output_embeddings()
    own_head = head is not None and head.weight is not model.get_input_embeddings().weight
    chosen = {id(parameter) for module in modules for parameter in module.parameters()}
    for module in modules:
        module.float()  # in place: the parameters stay the same objects
    for name, parameter in model.named_parameters():
        stored = skeleton.stored_name(name) is not None or (own_head and parameter is head.weight)
        parameter.requires_grad_(id(parameter) in chosen and stored)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UnsupportedModel(
            f"nothing that would be trained in {skeleton.config.model_type} is stored as it is used: "
            f"--heal none"
        )


def _trained_modules(
    model: Any,
    layers: nn.ModuleList,
    plan: HealingPlan,
    carriers: tuple[int, ...],
    new_layers: tuple[int, ...],
) -> list[nn.Module]:
    """What a method trains whole; `partial`: the last layers, the final norm and the head."""
    if plan.method == "sorted":
        return [model]
    if plan.method in ("replace", "grown"):
        return [layers[number] for number in (carriers if plan.method == "replace" else new_layers)]
    head = model.get_output_embeddings()
    if plan.train_head and head.weight is model.get_input_embeddings().weight:
        head.weight = nn.Parameter(head.weight.detach().clone())
    return [
        *layers[len(layers) - plan.last_layers :],
        *_final_norms(model),
        *([head] if plan.train_head else []),
    ]


def _final_norms(model: Any) -> list[nn.Module]:
    """The norms outside the layers: modules without parts whose parameters have one dimension."""
    head = model.get_output_embeddings()
    inside = {id(module) for layer in _all_layers(model) for module in layer.modules()}
    return [
        module
        for module in model.modules()
        if id(module) not in inside
        and module is not head
        and not list(module.children())
        and (own := list(module.parameters()))
        and all(parameter.dim() == 1 for parameter in own)
    ]


def _all_layers(model: Any) -> Iterator[nn.Module]:
    return (layer for module in model.modules() if isinstance(module, nn.ModuleList) for layer in module)
