"""Encoders of text and of images: measured, cut, bridged, proved and told of, without a loss."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from PIL import Image
from transformers import (
    AutoImageProcessor,
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForMaskedLM,
    AutoTokenizer,
    BertConfig,
    LlamaConfig,
    ViTConfig,
)

import hf_prune as api
from hf_prune.errors import UnsupportedModel
from hf_prune.machine.progress import silent
from hf_prune.model.decoder import open_decoder
from hf_prune.model.model_class import auto_class, kind_of
from hf_prune.model.proof import check_streaming, expected_logits, prove
from hf_prune.records import DECODER, IMAGE_ENCODER, TEXT_ENCODER, from_data
from hf_prune.stages.card.templates import NO_BREAK
from hf_prune.stages.cut.checkpoint import write_checkpoint
from hf_prune.stages.run import Analysis, Run
from tests.support.checkout import ROOT
from tests.support.encoders import EXACT, REFUSED, build_tiny_encoder, save_images, some_inputs
from tests.support.matrix import cuts_of
from tests.support.plain import edit_json
from tests.support.tool import hf_prune

CPU = torch.device("cpu")
FEW = ("--samples", "8", "--seq-len", "32")
EVALUATED = (*FEW, "--eval-samples", "4")
DOCUMENT = ROOT / "docs" / "encoders.md"
TinyEncoders = Callable[[str], Path]

pytestmark = pytest.mark.filterwarnings("ignore")  # of the libraries' own, in families that nobody tends


@pytest.mark.parametrize(
    ("config", "architecture", "kind", "loaded_by"),
    [
        (BertConfig, "BertForMaskedLM", TEXT_ENCODER, "AutoModelForMaskedLM"),
        (BertConfig, "BertForSequenceClassification", TEXT_ENCODER, "AutoModelForSequenceClassification"),
        (BertConfig, "BertModel", TEXT_ENCODER, "AutoModel"),
        (BertConfig, "BertLMHeadModel", DECODER, "AutoModelForCausalLM"),
        (BertConfig, None, DECODER, "AutoModelForCausalLM"),
        (ViTConfig, "ViTForImageClassification", IMAGE_ENCODER, "AutoModelForImageClassification"),
        (ViTConfig, "ViTModel", IMAGE_ENCODER, "AutoModel"),
        (LlamaConfig, "LlamaForCausalLM", DECODER, "AutoModelForCausalLM"),
        (LlamaConfig, "LlamaModel", DECODER, "AutoModelForCausalLM"),
    ],
)
def test_the_architecture_that_a_checkpoint_names_decides_what_it_is(config, architecture, kind, loaded_by):
    made = config(architectures=[architecture] if architecture else None)
    assert (kind_of(made), auto_class(made).__name__) == (kind, loaded_by)


def test_a_bert_that_looks_back_alone_is_a_decoder_whatever_its_class():
    made = BertConfig(architectures=["BertForMaskedLM"], is_decoder=True)
    assert (kind_of(made), auto_class(made).__name__) == (DECODER, "AutoModelForCausalLM")


def cut_and_prove(folder: Path, source: Path, images: bool) -> None:
    """A block and scattered layers go; both results are what the original computes without them."""
    decoder, inputs = open_decoder(source, CPU), some_inputs(images)
    check_streaming(decoder, inputs)
    for name, kept in cuts_of(decoder.num_layers).items():
        target = folder / name
        target.mkdir()
        write_checkpoint(source, target, kept=kept, variant="cut", replacements={}, progress=silent)
        prove(target, "cut", inputs, expected_logits(decoder, inputs, kept, {}), decoder)


def test_the_proof_sees_an_encoder_that_lost_other_layers(tiny_encoders: TinyEncoders, tmp_path: Path):
    source, target, inputs = tiny_encoders("vit"), tmp_path / "cut", some_inputs(images=True)
    target.mkdir()
    decoder = open_decoder(source, CPU)
    write_checkpoint(source, target, kept=(0, 1, 2, 4), variant="cut", replacements={}, progress=silent)
    with pytest.raises(Exception, match="the answer equals the original's"):
        prove(target, "cut", inputs, expected_logits(decoder, inputs, (0, 1, 2, 3), {}), decoder)


@pytest.mark.parametrize("model_type", ["distilbert", "dinov2", "beit"])
def test_a_cut_encoder_computes_what_the_original_does_without_those_layers(
    tmp_path: Path, model_type: str
) -> None:
    build_tiny_encoder(tmp_path / "source", model_type)
    cut_and_prove(tmp_path, tmp_path / "source", images=model_type in ("dinov2", "beit"))


@pytest.mark.slow
@pytest.mark.parametrize(("model_type", "name"), [(m, n) for m, names in EXACT.items() for n in names])
def test_what_the_document_says_is_cut_exactly_is(tmp_path: Path, model_type: str, name: str) -> None:
    build_tiny_encoder(tmp_path / "source", model_type, name)
    images = list(EXACT).index(model_type) >= list(EXACT).index("vit")
    cut_and_prove(tmp_path, tmp_path / "source", images)


@pytest.mark.slow
@pytest.mark.parametrize("model_type", REFUSED)
def test_what_the_document_says_is_refused_is(tmp_path: Path, model_type: str) -> None:
    name, why = REFUSED[model_type]
    build_tiny_encoder(tmp_path / "source", model_type, name)
    with pytest.raises(UnsupportedModel, match=why):
        cut_and_prove(tmp_path, tmp_path / "source", images=model_type == "resnet")


def test_the_document_names_what_is_tested():
    rows = re.findall(r"^\| (?:text|images) \| (\w+) \| (.*) \|$", DOCUMENT.read_text(), re.MULTILINE)
    told = {name: outcome for outcome, types in rows for name in re.findall(r"`([\w-]+)`", types)}
    assert told == dict.fromkeys(EXACT, "exact") | dict.fromkeys(REFUSED, "refused")


@pytest.mark.parametrize("model_type", ["bert", "vit"])
def test_an_analysis_has_the_criteria_that_need_no_loss(
    tiny_encoders: TinyEncoders, photos: Path, tmp_path: Path, model_type: str
) -> None:
    words = ("analyze", str(tiny_encoders(model_type)), *FEW, *calibration(model_type, photos))
    outcome = hf_prune(*words, "--output", str(tmp_path / "a"))
    assert outcome.code == 0, outcome.err
    assert "at the first" in outcome.err
    analysis = from_data(Analysis, json.loads((tmp_path / "a" / "analysis.json").read_text()))
    criteria = {scores.criterion for scores in analysis.similarity.layer_scores}
    assert criteria == {"bi", "relative-magnitude", "magnitude"}
    assert analysis.similarity.compared_token == "first"
    assert analysis.dense.key_value_bytes_per_token is None
    tokens = 17 if model_type == "vit" else 32  # of an image: 4 x 4 patches and the first, which sums up
    assert analysis.similarity.calibration.sequence_length == tokens
    assert {path.stem for path in (tmp_path / "a" / "plots").iterdir()} == {
        "similarity",
        "block_sizes",
        "layer_scores",
    }


@pytest.fixture(scope="module")
def finished(
    tiny_encoders: TinyEncoders, photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """A run of each kind, layers 3 and 4 gone: its folder."""
    folders = {}
    for model_type in ("bert", "vit"):
        folders[model_type] = tmp_path_factory.mktemp("runs") / model_type
        words = (str(tiny_encoders(model_type)), *EVALUATED, "--layers", "3-4", "--bridge", "refit")
        more = calibration(model_type, photos)
        outcome = hf_prune(*words, *more, "--output", str(folders[model_type]))
        assert outcome.code == 0, outcome.err
        assert "cosine to dense" in outcome.err
    return folders


def calibration(model_type: str, photos: Path) -> tuple[str, ...]:
    """Images for the models that read them. The others take the built-in text."""
    return ("--calibration", str(photos)) if model_type == "vit" else ()


def run_of(folder: Path) -> Run:
    return from_data(Run, json.loads((folder / "run.json").read_text()))


@pytest.mark.parametrize("model_type", ["bert", "vit"])
def test_the_bridge_brings_the_final_states_nearer_to_the_originals(
    finished: dict[str, Path], model_type: str
) -> None:
    run = run_of(finished[model_type])
    assert [measured.variant for measured in run.evaluated.agreements] == ["cut", "bridged"]
    cut, bridged = run.evaluated.agreements
    assert cut.cosine < bridged.cosine - 0.1 < 0.9
    assert run.result.variant == "bridged"
    assert (run.evaluated.perplexities, run.evaluated.speeds.found, run.healing.kept) == ((), (), False)
    assert "learns by a task" in (run.healing.plan.reason or "")
    assert [len(proof.checks) for proof in run.proofs] == [2, 2]


def test_the_smaller_encoders_load_by_their_own_classes(finished: dict[str, Path], photos: Path) -> None:
    bert, vit = (finished[name] / "model" for name in ("bert", "vit"))
    text = AutoTokenizer.from_pretrained(bert)("The sea is calm", return_tensors="pt")
    words = AutoModelForMaskedLM.from_pretrained(bert)
    assert words.config.num_hidden_layers == 4
    assert words(input_ids=text["input_ids"]).logits.isfinite().all()
    image = Image.open(photos / "000.png")
    pixels = AutoImageProcessor.from_pretrained(vit)(images=image, return_tensors="pt")
    labels = AutoModelForImageClassification.from_pretrained(vit)
    assert labels.config.num_hidden_layers == 4
    assert labels(**pixels).logits.isfinite().all()


@pytest.mark.parametrize(
    ("model_type", "tag", "loaded_by", "unit"),
    [
        ("bert", "fill-mask", "AutoModelForMaskedLM", "documents"),
        ("vit", "image-classification", "AutoModelForImageClassification", "images"),
    ],
)
def test_the_card_tells_of_the_cosine_and_of_no_perplexity(
    finished: dict[str, Path], model_type: str, tag: str, loaded_by: str, unit: str
) -> None:
    text = (finished[model_type] / "model" / "README.md").read_text()
    assert ModelCard(text).data.pipeline_tag == tag
    assert f"{loaded_by}.from_pretrained(model_id)" in text
    assert f"None of these {unit} was used for calibration" in text
    text = text.replace("**", "").replace(NO_BREAK, " ")
    assert f"| {run_of(finished[model_type]).evaluated.agreements[-1].cosine:.4f} ± " in text
    for word in ("perplexity", "Perplexity", "generate(", "last token", "KV cache"):
        assert word not in text
    assert ("`photos (set aside)`" in text) == (model_type == "vit")
    code = text.split("```python\n")[1].split("```")[0]
    compile(code, "card", "exec")


def test_auto_takes_the_cut_whose_final_states_are_nearest(
    tiny_encoders: TinyEncoders, photos: Path, tmp_path: Path
) -> None:
    words = (str(tiny_encoders("vit")), *EVALUATED, "--drop-layers", "2", "--bridge", "auto")
    outcome = hf_prune(*words, "--calibration", str(photos), "--output", str(tmp_path / "run"))
    assert outcome.code == 0, outcome.err
    plan, bridge = run_of(tmp_path / "run").plan, run_of(tmp_path / "run").bridge
    cosines = [tried.cosine for tried in plan.agreements]
    assert cosines == sorted(cosines, reverse=True)
    assert len(cosines) > 1
    assert plan.removed == plan.agreements[0].removed
    assert plan.tournament is None
    assert bridge.contest is not None
    assert bridge.method == max(bridge.contest.agreements, key=lambda tried: tried.cosine).method
    text = (tmp_path / "run" / "model" / "README.md").read_text()
    assert f"The criteria proposed {len(cosines)} cuts of 2 layers" in text


def test_images_that_were_set_aside_are_found_again_by_verify(
    tiny_encoders: TinyEncoders, finished: dict[str, Path], photos: Path
) -> None:
    verification = api.verify(str(finished["vit"]), base=str(tiny_encoders("vit")), data=photos.parent)
    holds = {claim.name: claim.holds for claim in verification.claims}
    assert holds["cosine to the original, bridged"]
    assert False not in holds.values()


def test_two_folders_of_images_are_fitted_to_and_measured_on(
    tiny_encoders: TinyEncoders, tmp_path: Path
) -> None:
    fit, judge = save_images(tmp_path / "fit", range(6)), save_images(tmp_path / "judge", range(6, 9))
    folders = ("--calibration", str(fit), "--eval-data", str(judge))
    words = (str(tiny_encoders("vit")), *EVALUATED, *folders, "--layers", "4", "--bridge", "none")
    outcome = hf_prune(*words, "--output", str(tmp_path / "run"))
    assert outcome.code == 0, outcome.err
    run = run_of(tmp_path / "run")
    assert (run.similarity.calibration.name, run.similarity.calibration.num_sequences) == ("fit", 3)
    assert (run.evaluated.agreements[0].text.name, run.evaluated.agreements[0].text.num_sequences) == (
        "judge",
        3,
    )


@pytest.mark.parametrize("words", [("--drop-layers", "2"), ("--drop-layers", "2", "--dry-run"), ("analyze",)])
def test_an_image_encoder_without_images_is_refused(
    tiny_encoders: TinyEncoders, tmp_path: Path, words: tuple[str, ...]
) -> None:
    outcome = hf_prune(*words, str(tiny_encoders("vit")), "--output", str(tmp_path / "run"))
    assert outcome.code == 2
    assert "is an image encoder, and hf-prune brings no images: give `--calibration" in outcome.error()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--method", "taylor"), "--method taylor needs a loss, and this model is a text encoder"),
        (("--max-loss", "0.1"), "--max-loss needs a loss"),
        (("--heal", "lora"), "--heal lora needs a loss"),
        (("--eval-elsewhere", "other.txt"), "--eval-elsewhere is for perplexity, which needs a loss"),
    ],
)
def test_what_needs_a_loss_is_refused_before_anything_is_measured(
    tiny_encoders: TinyEncoders, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    outcome = hf_prune(str(tiny_encoders("bert")), *words, "--output", str(tmp_path / "run"))
    assert outcome.code == 2
    assert said in outcome.error()
    assert not (tmp_path / "run" / "stages").exists()


def test_shapley_values_of_an_encoder_are_refused(tiny_encoders: TinyEncoders, tmp_path: Path) -> None:
    words = ("analyze", str(tiny_encoders("bert")), "--shapley", "2", "--output", str(tmp_path / "a"))
    outcome = hf_prune(*words)
    assert outcome.code == 2
    assert "--shapley needs a loss" in outcome.error()


def test_a_decoder_of_the_same_family_is_still_cut_as_one(tiny_models: Callable[..., Path], tmp_path: Path):
    folder = tiny_models("bert", is_decoder=True)
    assert open_decoder(folder, CPU).skeleton.kind == DECODER
    assert AutoModelForCausalLM.from_pretrained(folder).config.architectures == ["BertLMHeadModel"]


def test_an_encoder_with_a_decoder_stays_refused(tiny_encoders: TinyEncoders, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(tiny_encoders("bert"), tmp_path / "model")
    edit_json(tmp_path / "model" / "config.json", model_type="bart", architectures=["BartModel"])
    with pytest.raises(UnsupportedModel, match="an encoder with a decoder"):
        open_decoder(tmp_path / "model", CPU)
