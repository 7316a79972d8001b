"""The texts or images of a run, read, and sure to be apart: nothing is measured on what was fitted to."""

from dataclasses import dataclass
from pathlib import Path

from hf_prune.errors import RecipeError
from hf_prune.machine.disk import _files_digest
from hf_prune.recipe.recipe import SELF, Recipe
from hf_prune.records import DECODER, IMAGE_ENCODER
from hf_prune.stages.texts import conversations as instructions
from hf_prune.stages.texts import images
from hf_prune.stages.texts import text as calibration
from hf_prune.stages.texts.images import Images
from hf_prune.stages.texts.overlap import Part, check_apart, check_questions, leave_out
from hf_prune.stages.texts.questions import Questions, read_questions
from hf_prune.stages.texts.text import Text

FittedAndHeldout = tuple[Text, Text] | tuple[Images, Images]


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What a model is fitted to and what it is measured on."""

    texts: FittedAndHeldout
    healing_text: Text | None = None  # to train on, or prompts; None where nothing is trained
    elsewhere: Text | None = None  # held out, of another domain; an encoder has none
    questions: Questions | None = None  # multiple choice; None where that is made from the held-out text

    @property
    def digests(self) -> tuple[str, ...]:
        """Change when what was read does."""
        texts = [text for text in (*self.texts, self.healing_text, self.elsewhere) if text is not None]
        found = [images.digest(t) if isinstance(t, Images) else calibration.digest(t) for t in texts]
        return (*found, *([self.questions.sha256] if self.questions else []))


def read_material(recipe: Recipe, kind: str) -> Material:
    """Read what a recipe names, or what comes with hf-prune.

    Args:
        recipe: what is asked for.
        kind: of model: an encoder of images reads no text, and one of text is not trained.

    Raises:
        UnusableText, UnusableImages: something cannot be read.
        OverlappingData: something would serve two of calibration, healing and evaluation.
    """
    if kind == IMAGE_ENCODER:
        return Material(texts=_read_images(recipe))
    fitted = _text(recipe.calibration, calibration.BUILT_IN_CALIBRATION)
    heldout = _text(recipe.eval_data, calibration.BUILT_IN_HELDOUT)
    decodes = kind == DECODER
    elsewhere = _text(recipe.eval_elsewhere, calibration.BUILT_IN_ELSEWHERE) if decodes else None
    measured = [text for text in (heldout, elsewhere) if text is not None]
    healing_text = _read_healing_text(recipe, (fitted, *measured)) if decodes else None
    asked = recipe.choices if recipe.choice_items else None
    questions = read_questions(Path(asked), recipe.choice_items) if asked else None
    material = Material(
        texts=(fitted, heldout), healing_text=healing_text, elsewhere=elsewhere, questions=questions
    )
    _check_apart(recipe, material)
    return material


def digests_of(recipe: Recipe, material: Material) -> tuple[str, ...]:
    """Change when a text, an image or a task that a run reads does, whether its own or hf-prune's."""
    tasks = folder_digest(recipe)
    return (*material.digests, *([tasks] if tasks else []))


def _text(path: str | None, built_in: str) -> Text:
    return calibration.read_text(Path(path)) if path else calibration.built_in_text(built_in)


def _read_healing_text(recipe: Recipe, others: tuple[Text, ...]) -> Text | None:
    """What is trained on, or the prompts that the original answers."""
    if recipe.heal == "none":
        return None
    path = recipe.prompts if recipe.heal_data == SELF else recipe.heal_data
    if path is None:
        return leave_out(calibration.built_in_text(calibration.BUILT_IN_HEALING), others)
    if recipe.heal_data != SELF and instructions.holds_conversations(Path(path)):
        return instructions.read_conversations(Path(path))
    return calibration.read_text(Path(path), field="prompt" if recipe.prompts else "text")


def _check_apart(recipe: Recipe, material: Material) -> None:
    heldout, learnt = material.texts[1], fitted_parts(recipe, material)
    assert isinstance(heldout, Text)
    measured = [Part("held-out text", "--eval-data", heldout)]
    if material.elsewhere is not None:
        measured.append(Part("text of another domain", "--eval-elsewhere", material.elsewhere))
    check_apart(learnt, measured)
    if (questions := material.questions) is not None:
        name = Text(name=questions.name, dataset=None, documents=())
        asked = Part("multiple-choice items", "--choices", name)
        check_questions(learnt, [question.asked for question in questions.questions], asked)


def fitted_parts(recipe: Recipe, material: Material) -> list[Part]:
    """The texts that a model is fitted to; of images none."""
    fitted = material.texts[0]
    if isinstance(fitted, Images):
        return []
    parts = [Part("calibration text", "--calibration", fitted)]
    if material.healing_text is not None:
        option = "--prompts" if recipe.prompts else "--heal-data"
        parts.append(Part("healing text", option, material.healing_text))
    return parts


def _read_images(recipe: Recipe) -> tuple[Images, Images]:
    """The images to fit on and the held-out ones, once it is sure that they share none."""

    def read(path: str | None, name: str, seeds: range) -> Images:
        return images.read_images(Path(path)) if path else images.drawn_images(name, seeds)

    fitted = read(recipe.calibration, "drawn_calibration", images.DRAWN_CALIBRATION)
    heldout = read(recipe.eval_data, "drawn_heldout", images.DRAWN_HELDOUT)
    images.check_disjoint(fitted, heldout)
    return fitted, heldout


def folder_digest(recipe: Recipe) -> str | None:
    """Changes when a file in the folder of local tasks does; None where there is no such folder.

    Raises:
        RecipeError: what was given is no folder.
    """
    if recipe.tasks == "none" or recipe.tasks_from is None:
        return None
    folder = Path(recipe.tasks_from)
    if not folder.is_dir():
        raise RecipeError(
            f"--tasks-from {folder}: there is no such folder; give one with .yaml files of tasks"
        )
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".pyc"]
    return _files_digest({path.relative_to(folder).as_posix(): path for path in paths})
