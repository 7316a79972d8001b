"""The texts or images of a run, with nothing in both what is fitted to and what is measured on."""

from dataclasses import dataclass
from pathlib import Path

from hf_prune.errors import RecipeError
from hf_prune.machine.disk import files_digest
from hf_prune.recipe.recipe import SELF, Recipe
from hf_prune.records import DECODER, IMAGE_ENCODER
from hf_prune.stages.texts.conversations import holds_conversations, read_conversations
from hf_prune.stages.texts.images import Images, check_disjoint, read_images, set_images_aside
from hf_prune.stages.texts.overlap import Part, check_apart, check_questions, leave_out
from hf_prune.stages.texts.questions import Questions, read_questions
from hf_prune.stages.texts.text import (
    BUILT_IN_CALIBRATION,
    BUILT_IN_ELSEWHERE,
    BUILT_IN_HEALING,
    BUILT_IN_HELDOUT,
    Text,
    TextSource,
    built_in_text,
    read_text,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What a model is fitted to and what it is measured on."""

    fitted: Text | Images | None = None  # None where nothing is fitted
    heldout: Text | Images | None = None  # None where only questions are asked
    healing_text: Text | None = None  # to train on, or prompts. None where nothing is trained
    elsewhere: Text | None = None  # held out, of another domain. An encoder has none
    questions: Questions | None = None  # multiple choice. None where it is made from the held-out text

    @property
    def digests(self) -> tuple[str, ...]:
        """Change when a text, an image or a question does."""
        parts = (self.fitted, self.heldout, self.healing_text, self.elsewhere, self.questions)
        return tuple(part.sha256 for part in parts if part is not None)


def read_material(recipe: Recipe, kind: str) -> Material:
    """Read the files that a recipe names, or the texts that come with hf-prune, for a kind of model.

    An image encoder reads no text, and a text encoder is not trained.

    Raises:
        RecipeError: an image encoder got no images.
        UnusableText, UnusableImages: a file or folder cannot be read.
        OverlappingData: a document or image would serve two of calibration, healing and evaluation.
    """
    if kind == IMAGE_ENCODER:
        return _read_images(recipe)
    fitted = _text(recipe.calibration, BUILT_IN_CALIBRATION)
    heldout = _text(recipe.eval_data, BUILT_IN_HELDOUT)
    measured, healing_text, elsewhere = [Part("held-out text", "--eval-data", heldout)], None, None
    if kind == DECODER:
        elsewhere = _text(recipe.eval_elsewhere, BUILT_IN_ELSEWHERE)
        measured.append(Part("text of another domain", "--eval-elsewhere", elsewhere))
        healing_text = _read_healing_text(recipe, (fitted, heldout, elsewhere))
    choices = recipe.choices if recipe.choice_items else None
    questions = read_questions(Path(choices), recipe.choice_items) if choices else None
    material = Material(
        fitted=fitted, heldout=heldout, healing_text=healing_text, elsewhere=elsewhere, questions=questions
    )
    learnt = fitted_parts(recipe, material)
    check_apart(learnt, measured)
    if questions is not None:
        file = Part("multiple-choice items", "--choices", TextSource(name=questions.name, dataset=None))
        check_questions(learnt, [question.question for question in questions.questions], file)
    return material


def digests_of(recipe: Recipe, material: Material) -> tuple[str, ...]:
    """Change when a text, an image or a task that a run reads does, whether its own or hf-prune's."""
    return tuple(filter(None, (*material.digests, task_folder_digest(recipe))))


def _text(path: str | None, built_in: str) -> Text:
    return read_text(Path(path)) if path else built_in_text(built_in)


def _read_healing_text(recipe: Recipe, others: tuple[Text, ...]) -> Text | None:
    """The text to train on, or the prompts that the original answers."""
    if recipe.heal == "none":
        return None
    path = recipe.prompts if recipe.heal_data == SELF else recipe.heal_data
    if path is None:
        return leave_out(built_in_text(BUILT_IN_HEALING), others)
    if recipe.heal_data != SELF and holds_conversations(Path(path)):
        return read_conversations(Path(path))
    return read_text(Path(path), field="prompt" if recipe.prompts else "text")


def fitted_parts(recipe: Recipe, material: Material) -> list[Part[Text]]:
    """The texts that a model is fitted to. An image encoder has none."""
    if not isinstance(material.fitted, Text):
        return []
    parts = [Part("calibration text", "--calibration", material.fitted)]
    if material.healing_text is not None:
        option = "--prompts" if recipe.prompts else "--heal-data"
        parts.append(Part("healing text", option, material.healing_text))
    return parts


def _read_images(recipe: Recipe) -> Material:
    if recipe.calibration is None:
        raise RecipeError(
            f"{recipe.model} is an image encoder, and hf-prune brings no images: give `--calibration FOLDER` "
            f"with a folder of your images"
        )
    fitted = read_images(Path(recipe.calibration))
    if recipe.eval_data is None:
        fitted, heldout = set_images_aside(fitted)
    else:
        heldout = read_images(Path(recipe.eval_data))
        check_disjoint(fitted, heldout)
    return Material(fitted=fitted, heldout=heldout)


def task_folder_digest(recipe: Recipe) -> str | None:
    """Changes when a file in the folder of local tasks does. None where no such folder is used.

    Raises:
        RecipeError: --tasks-from names no folder.
    """
    if recipe.tasks == "none" or recipe.tasks_from is None:
        return None
    folder = Path(recipe.tasks_from)
    if not folder.is_dir():
        raise RecipeError(
            f"--tasks-from {folder}: there is no such folder; give one with .yaml files of tasks"
        )
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".pyc"]
    return files_digest({path.relative_to(folder).as_posix(): path for path in paths})
