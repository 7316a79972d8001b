"""What a training needs beside the model, made once and kept in files: windows of text, and lessons."""

from pathlib import Path

from hf_prune.machine.progress import Progress
from hf_prune.recipe.recipe import SELF
from hf_prune.records import HealingPlan, TextTokens
from hf_prune.stages.heal.lessons import Lessons, write_lessons
from hf_prune.stages.heal.plan import MOST_TOKENS, TOP_TOKENS
from hf_prune.stages.heal.responses import answer, prompts_from
from hf_prune.stages.heal.text import HealingText, of_windows, pack, read_text, save_text, watched_beside
from hf_prune.stages.original import Original
from hf_prune.stages.texts.conversations import tokenised
from hf_prune.stages.texts.text import Text
from hf_prune.stages.texts.windows import windows_of

TEXT_FILE, LESSONS_FILE = "text.safetensors", "lessons"


def healing_text(original: Original, folder: Path, progress: Progress) -> HealingText:
    """All windows, those included that are only watched.

    Args:
        original: the model, which writes the text itself where that is asked for.
        folder: where it is kept.
        progress: shows the writing going by.
    """
    path = folder / TEXT_FILE
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        save_text(_made_text(original, progress), path)
    return read_text(path)


def _made_text(original: Original, progress: Progress) -> HealingText:
    recipe, length = original.recipe, original.window_length
    text = original.material.healing_text
    assert text is not None
    if text.conversations:
        return pack(tokenised(text, original.tokenizer), length, text.name)
    if recipe.heal_data != SELF:
        windows = max(1, (recipe.heal_tokens or MOST_TOKENS) // length)
        return of_windows(original.healing_windows(windows + watched_beside(windows)))
    documents = text.documents
    prompts = documents if recipe.prompts else prompts_from(documents)
    answers = answer(original.decoder, original.tokenizer, prompts, seed=recipe.seed, progress=progress)
    return pack(answers, length, "what the original answers")


def record_of(text: HealingText, original: Original) -> TextTokens:
    """Where windows come from."""
    source = original.material.healing_text
    assert source is not None
    if original.recipe.heal_data == SELF:
        source = Text(name=f"answers to {source.name}", dataset=None, documents=())
    return windows_of(source, text.ids).record


def lessons_for(
    original: Original,
    plan: HealingPlan,
    text: HealingText,
    boundaries: tuple[int, ...],
    folder: Path,
    progress: Progress,
) -> Lessons | None:
    """What the original says of the windows that are trained on; None where the text alone is learnt.

    Args:
        original: the model.
        plan: what is learnt.
        text: the windows.
        boundaries: of the original, at the end of each gap that has a layer before it.
        folder: where it is kept.
        progress: shows the layers going by.
    """
    distilled = plan.objective == "predictions"
    lessons = Lessons(
        path=str(folder / LESSONS_FILE),
        num_windows=len(text.ids),
        length=text.ids.shape[1],
        top=min(TOP_TOKENS, original.dense.vocabulary_size) if distilled else 0,
        boundaries=boundaries if plan.boundary_loss else (),
        hidden_size=original.dense.hidden_size,
    )
    if not lessons.piece_bytes:
        return None
    if not Path(lessons.path).is_file():
        write_lessons(original.decoder, text.ids, lessons, progress)
    return lessons
