"""Items out of files, with all that may be wrong with them, and items made from text."""

import gzip
import json
from copy import deepcopy
from pathlib import Path

import pytest
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from hf_prune.errors import UnusableText
from hf_prune.stages.evaluate.items import item_lengths, items_from_text, to_items
from hf_prune.stages.texts.questions import Question, Questions, read_questions
from hf_prune.stages.texts.text import BUILT_IN_HELDOUT, built_in_text
from hf_prune.stages.texts.windows import to_windows
from tests.support.models import small_tokenizer
from tests.support.plain import some_tokens, windows_of


def starting_tokenizer() -> PreTrainedTokenizerFast:
    """One that starts each text with <s>."""
    tokenizer = deepcopy(small_tokenizer())  # that of all tests is one object
    template = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", tokenizer.bos_token_id)])
    tokenizer.backend_tokenizer.post_processor = template
    return tokenizer


def read(folder: Path, *objects: object, count: int = 99) -> tuple[Question, ...]:
    path = folder / "own.jsonl"
    path.write_text("\n".join(json.dumps(each) for each in objects) + "\n\n")
    return read_questions(path, count).questions


# Out of files


@pytest.mark.parametrize(
    ("found", "prompt", "options", "right"),
    [
        (
            {
                "question": "Why?",
                "choices": {"text": ["a", "b", "c"], "label": ["A", "B", "C"]},
                "answerKey": "C",
            },
            "Question: Why?\nAnswer:",
            ("a", "b", "c"),
            2,
        ),
        (
            {"question": "Why?", "choices": {"text": ["a", "b"], "label": ["1", "2"]}, "answerKey": "1"},
            "Question: Why?\nAnswer:",
            ("a", "b"),
            0,
        ),
        ({"query": "He was", "choices": ["tall.", "old."], "label": 1}, "He was", ("tall.", "old."), 1),
        ({"query": "He was", "choices": ["tall.", "old."], "label": "1"}, "He was", ("tall.", "old."), 1),
        ({"prompt": "2 + 2 =", "choices": ["3", "4"], "answer": "B"}, "2 + 2 =", ("3", "4"), 1),
        ({"prompt": "2 + 2 =", "choices": ["3", "4"], "answer": 0}, "2 + 2 =", ("3", "4"), 0),
    ],
    ids=["ARC", "ARC with numbers", "HellaSwag", "index as text", "letter", "index"],
)
def test_items_are_read_as_data_sets_have_them(tmp_path, found, prompt, options, right):
    assert read(tmp_path, found) == (Question(prompt, options, right),)


PLAIN = {"prompt": "p", "choices": ["a", "b"], "answer": 0}


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ([1, 2], "line 2, is not a JSON object"),
        (PLAIN | {"prompt": " "}, "line 2: none of question, prompt, query is a text"),
        ({"choices": ["a", "b"], "answer": 0}, "line 2: none of question, prompt, query is a text"),
        (PLAIN | {"choices": ["a"]}, "line 2: choices is not a list of two texts or more"),
        (PLAIN | {"choices": "ab"}, "line 2: choices is not a list of two texts or more"),
        (PLAIN | {"choices": ["a", ""]}, "line 2: choices is not a list of two texts or more"),
        (PLAIN | {"choices": {"label": ["A", "B"]}}, "line 2: choices is not a list of two texts or more"),
        (PLAIN | {"answer": 2}, "line 2: none of answer, label, answerKey says which of 2 choices is right"),
        (PLAIN | {"answer": -1}, "line 2: none of answer, label, answerKey says which of 2"),
        (PLAIN | {"answer": True}, "line 2: none of answer, label, answerKey says which of 2"),
        (PLAIN | {"answer": "C"}, "line 2: none of answer, label, answerKey says which of 2"),
        ({"prompt": "p", "choices": ["a", "b"]}, "line 2: none of answer, label, answerKey says which of 2"),
    ],
)
def test_a_line_that_is_no_item_is_named(tmp_path, found, told):
    with pytest.raises(UnusableText, match=told):
        read(tmp_path, PLAIN, found)


def test_a_file_that_is_no_file_of_items_is_refused(tmp_path):
    with pytest.raises(UnusableText, match=r"there is no text file .*none\.jsonl"):
        read_questions(tmp_path / "none.jsonl", 1)
    (tmp_path / "a.txt").write_text("{}")
    with pytest.raises(UnusableText, match=r"a\.txt does not end in one of \.jsonl, \.jsonl\.gz"):
        read_questions(tmp_path / "a.txt", 1)
    (tmp_path / "a.jsonl").write_text("{\n")
    with pytest.raises(UnusableText, match=r"a\.jsonl, line 1, is not a JSON object"):
        read_questions(tmp_path / "a.jsonl", 1)
    (tmp_path / "a.jsonl").write_text("\n\n")
    with pytest.raises(UnusableText, match=r"a\.jsonl holds no items: give .* or leave --choices out"):
        read_questions(tmp_path / "a.jsonl", 1)


def test_of_a_long_file_the_same_items_are_drawn_each_time_in_its_order(tmp_path):
    path = tmp_path / "own.jsonl.gz"
    lines = [json.dumps(PLAIN | {"prompt": f"{n:02}"}) for n in range(50)]
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    drawn = read_questions(path, 10)
    prompts = [question.prompt for question in drawn.questions]
    assert len(set(prompts)) == 10
    assert prompts == sorted(prompts) != [f"{n:02}" for n in range(10)]
    assert read_questions(path, 10) == drawn
    assert read_questions(path, 10).sha256 == drawn.sha256 != read_questions(path, 11).sha256
    assert len(read_questions(path, 99).questions) == 50


# As tokens


def asked(*questions: Question) -> Questions:
    return Questions("own.jsonl", questions)


def test_an_option_is_what_the_tokens_of_both_have_beyond_those_of_the_prompt():
    tokenizer = starting_tokenizer()
    [item] = to_items(asked(Question("The sea is", ("blue", "not dry"), 1)), tokenizer, None).items
    assert tokenizer.decode(item.prompt) == "<s>The sea is"
    assert [tokenizer.decode(option) for option in item.options] == [" blue", " not dry"]
    assert item.right == 1


def test_of_a_prompt_that_is_too_long_the_end_is_kept():
    tokenizer, question = small_tokenizer(), Question("The sea is " * 9 + "so", ("blue", "not dry"), 0)
    whole, short = (to_items(asked(question), tokenizer, limit).items[0] for limit in (None, 20))
    assert short.options == whole.options
    assert len(short.prompt) + max(map(len, short.options)) == 20
    assert short.prompt == whole.prompt[-len(short.prompt) :]
    assert to_items(asked(question), tokenizer, 999).items[0] == whole


def test_an_option_that_fills_what_the_model_reads_is_refused():
    question = Question("The sea is", ("blue", "not dry " * 20), 0)
    with pytest.raises(
        UnusableText, match=r"own.jsonl: the option 'not dry not dry .* longer than the 20 tok"
    ):
        to_items(asked(question), small_tokenizer(), 20)


# Made from text


def test_an_item_from_text_holds_its_true_continuation_and_others_of_the_same_passage():
    tokenizer = starting_tokenizer()
    windows = to_windows(built_in_text(BUILT_IN_HELDOUT), tokenizer, num_sequences=8, length=256)
    items = items_from_text(windows)
    assert items.name == windows.record.name
    assert len(items.items) == 8
    for item, ids in zip(items.items, windows.ids.tolist(), strict=True):
        assert list(item.prompt) == ids[:32]
        assert item.prompt[0] == tokenizer.bos_token_id
        assert list(item.options[item.right]) == ids[32:48]
        wrong = [option for number, option in enumerate(item.options) if number != item.right]
        places = {n: tuple(ids[n : n + 16]) for n in range(48, 241)}
        assert len(set(wrong)) == 3
        assert all(option in places.values() for option in wrong)


def test_items_from_text_are_the_same_each_time_and_the_right_one_has_no_place_of_its_own():
    windows = windows_of(some_tokens(40, 256))
    items = items_from_text(windows)
    assert items_from_text(windows) == items
    assert items.sha256 == items_from_text(windows).sha256
    assert items.sha256 != items_from_text(windows_of(some_tokens(40, 256, seed=9))).sha256
    assert {item.right for item in items.items} == {0, 1, 2, 3}


@pytest.mark.parametrize("length", [8, 9, 16, 31, 32, 63, 64, 65, 100, 128, 255, 256])
def test_of_any_window_that_a_run_may_have_four_options_can_be_made(length):
    windows = windows_of(some_tokens(3, length))
    passage, continuation = item_lengths(length)
    for item, ids in zip(items_from_text(windows).items, windows.ids.tolist(), strict=True):
        assert len(item.prompt) == passage > 0
        assert [len(option) for option in item.options] == [continuation] * 4
        assert list(item.options[item.right]) == ids[passage : passage + continuation]
