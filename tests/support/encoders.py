"""Tiny random encoders of text and of images, each saved as the Hub would have it."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
import transformers
from PIL import Image
from tokenizers.processors import TemplateProcessing
from transformers import AutoConfig, PreTrainedTokenizerFast, ViTImageProcessorPil
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from tests.support.families import field_names, tiny_settings
from tests.support.models import small_tokenizer

SIDE = 32  # of an image, in pixels
PATCH = 8
EXACT = {  # model type of transformers -> classes that its checkpoints name
    "bert": (
        "BertForMaskedLM",
        "BertModel",
        "BertForSequenceClassification",
        "BertForPreTraining",
        "BertForQuestionAnswering",
    ),
    "roberta": ("RobertaForMaskedLM", "RobertaForSequenceClassification"),
    "xlm-roberta": ("XLMRobertaForMaskedLM", "XLMRobertaForTokenClassification"),
    "camembert": ("CamembertForMaskedLM",),
    "distilbert": ("DistilBertForMaskedLM", "DistilBertModel", "DistilBertForSequenceClassification"),
    "electra": ("ElectraForPreTraining", "ElectraForMaskedLM"),
    "modernbert": ("ModernBertForMaskedLM", "ModernBertForSequenceClassification"),
    "deberta": ("DebertaForMaskedLM",),
    "deberta-v2": ("DebertaV2ForMaskedLM", "DebertaV2ForSequenceClassification"),
    "mpnet": ("MPNetForMaskedLM",),
    "esm": ("EsmForMaskedLM",),
    "nomic_bert": ("NomicBertModel",),
    "eurobert": ("EuroBertForMaskedLM",),
    "convbert": ("ConvBertForMaskedLM",),
    "mobilebert": ("MobileBertForMaskedLM",),
    "vit": ("ViTForImageClassification", "ViTModel"),
    "deit": ("DeiTForImageClassification", "DeiTForImageClassificationWithTeacher", "DeiTModel"),
    "dinov2": ("Dinov2Model", "Dinov2ForImageClassification"),
    "dinov2_with_registers": ("Dinov2WithRegistersModel",),
    "dinov3_vit": ("DINOv3ViTModel",),
    "beit": ("BeitForImageClassification", "BeitModel"),
    "data2vec-vision": ("Data2VecVisionForImageClassification",),
    "vit_msn": ("ViTMSNForImageClassification",),
    "ijepa": ("IJepaModel",),
    "siglip_vision_model": ("SiglipVisionModel",),
    "clip_vision_model": ("CLIPVisionModel",),
}
REFUSED = {  # and why
    "albert": ("AlbertForMaskedLM", "found: none"),
    "longformer": ("LongformerForMaskedLM", "its hidden states are not one for each token"),
    "resnet": ("ResNetForImageClassification", "found: none"),
}


def encoder_tokenizer() -> PreTrainedTokenizerFast:
    """The small tokenizer, with a special token before a text and behind it."""
    text = TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    small = small_tokenizer()
    tokenizer = type(small.backend_tokenizer).from_str(small.backend_tokenizer.to_str())
    tokenizer.post_processor = text
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, cls_token="<s>", sep_token="</s>")


def build_tiny_encoder(folder: Path, model_type: str, architecture: str | None = None) -> None:
    """Save a tiny random encoder with its tokenizer or image processor, weights wider than a fresh model's.

    Args:
        folder: where to.
        model_type: of transformers.
        architecture: the class; None: the first one in `EXACT`.
    """
    config_class = CONFIG_MAPPING[model_type]
    settings = tiny_settings(config_class, {})
    if "is_decoder" in settings:
        settings["is_decoder"] = False
    if "patch_size" in field_names(config_class):
        settings |= {"image_size": SIDE, "patch_size": PATCH}
    torch.manual_seed(0)
    known = getattr(transformers, architecture or EXACT[model_type][0])
    model = known(AutoConfig.for_model(model_type, **settings)).float()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.15)
    model.save_pretrained(folder)
    if known.main_input_name == "pixel_values":
        ViTImageProcessorPil(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    else:
        encoder_tokenizer().save_pretrained(folder)


def some_inputs(images: bool, count: int = 3) -> torch.Tensor:
    """Pixel values or token ids."""
    generator = torch.Generator().manual_seed(1)
    if images:
        return torch.randn(count, 3, SIDE, SIDE, generator=generator)
    return torch.randint(2, 300, (count, 24), generator=generator)


def save_images(folder: Path, seeds: Iterable[int]) -> Path:
    """A folder with one small image of smooth random colours for each seed."""
    folder.mkdir(parents=True)
    for number, seed in enumerate(seeds):
        coarse = np.random.default_rng(seed).integers(0, 256, size=(6, 5, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((48, 40), Image.Resampling.BICUBIC)
        image.save(folder / f"{number:03}.png")
    return folder
