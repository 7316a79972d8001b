"""What a training needs beside the model, made once and kept in files: windows of text, and lessons."""

from pathlib import Path

from hf_prune.machine.progress import Progress
from hf_prune.recipe.recipe import SELF
from hf_prune.records import HealingPlan, TextTokens
from hf_prune.stages.heal.lessons import Lessons, write_lessons
from hf_prune.stages.heal.plan import MOST_TOKENS, TOP_TOKENS
from hf_prune.stages.heal.responses import answer, prompts_from
from hf_prune.stages.heal.text import HealingText, of_windows, pack, read_text, save_text, watched_windows
from hf_prune.stages.original import Original
from hf_prune.stages.texts.conversations import tokenised
from hf_prune.stages.texts.text import TextSource
from hf_prune.stages.texts.windows import windows_of

TEXT_FILE, LESSONS_FILE = "text.safetensors", "lessons"


def healing_text(original: Original, folder: Path, progress: Progress) -> HealingText:
    """All windows, also those that are only watched; they are kept in the folder."""
    path = folder / TEXT_FILE
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        save_text(_make_text(original, progress), path)
    return read_text(path)


def _make_text(original: Original, progress: Progress) -> HealingText:
    recipe, length = original.recipe, original.window_length
    text = original.material.healing_text
    assert text is not None
    if text.conversations:
        return pack(tokenised(text, original.tokenizer), length, text.name)
    if recipe.heal_data != SELF:
        windows = max(1, (recipe.heal_tokens or MOST_TOKENS) // length)
        return of_windows(original.healing_windows(windows + watched_windows(windows)))
    prompts = text.documents if recipe.prompts else prompts_from(text.documents)
    answers = answer(original.decoder, original.tokenizer, prompts, seed=recipe.seed, progress=progress)
    return pack(answers, length, "the text that the original wrote")


def text_record(text: HealingText, original: Original) -> TextTokens:
    """The record of these windows and of the text that they come from."""
    source: TextSource | None = original.material.healing_text
    assert source is not None
    if original.recipe.heal_data == SELF:
        source = TextSource(name=f"answers to {source.name}", dataset=None)
    return windows_of(source, text.ids).record


def lessons_for(
    original: Original,
    plan: HealingPlan,
    text: HealingText,
    boundaries: tuple[int, ...],
    folder: Path,
    progress: Progress,
) -> Lessons | None:
    """What the original says about the windows to train on, kept in the folder; None if that is not learnt.

    Args: `boundaries` are the original's layer boundaries at the end of each gap that has a layer before it.
    """
    lessons = Lessons(
        path=str(folder / LESSONS_FILE),
        num_windows=len(text.ids),
        length=text.ids.shape[1],
        top=min(TOP_TOKENS, original.anatomy.vocabulary_size) if plan.objective == "predictions" else 0,
        boundaries=boundaries if plan.boundary_loss else (),
        hidden_size=original.anatomy.hidden_size,
    )
    if not lessons.window_bytes:
        return None
    if not Path(lessons.path).is_file():
        write_lessons(original.decoder, text.ids, lessons, progress)
    return lessons
