"""What a model is fitted to and what it is measured on have nothing in common, or it is an error."""

import json
from itertools import combinations

import pytest

from hf_prune.errors import OverlappingData
from hf_prune.stages.texts.overlap import Part, check_apart, check_questions, leave_out
from hf_prune.stages.texts.questions import read_questions
from hf_prune.stages.texts.text import BUILT_IN_TEXTS, Conversation, Text, Turn, built_in_text
from tests.support.tool import hf_prune


def text_of(*documents, name="some.jsonl"):
    return Text(name=name, dataset=None, documents=documents)


def told(number, first=0):
    """Sentences that no other number has."""
    return " ".join(f"The {n}th thing to be told in story {number} is of no use." for n in range(first, 30))


def calibration(*documents):
    return Part("calibration text", "--calibration", text_of(*documents, name="fit.jsonl"))


def heldout(*documents):
    return Part("held-out text", "--eval-data", text_of(*documents, name="judge.jsonl"))


def test_the_built_in_texts_share_not_even_a_passage():
    texts = [built_in_text(name) for name in BUILT_IN_TEXTS]
    assert all(leave_out(one, [other]) == one for one, other in combinations(texts, 2))


def test_a_document_in_both_is_refused_however_it_is_spaced_and_both_texts_are_named():
    with pytest.raises(OverlappingData) as caught:
        check_apart([calibration("a b  c", "d")], [heldout("x", " a\nb c ", "d", "D")])
    assert str(caught.value) == (
        "2 documents are both in the calibration text fit.jsonl and in the held-out text judge.jsonl, the "
        "first begins 'a b c': figures on what a model was fitted to mean nothing; take them out of one, or "
        "give others by --calibration or --eval-data"
    )
    check_apart([calibration("a b c", "d")], [heldout("a b", "D")])


@pytest.mark.parametrize("swapped", [False, True])
def test_a_document_within_another_is_found(swapped):
    within, around = told(1), f"{told(2)} {told(1)}\n\n{told(3)}"
    fitted, measured = (around, within) if swapped else (within, around)
    with pytest.raises(OverlappingData, match="1 documents are both"):
        check_apart([calibration(told(0), fitted)], [heldout(measured)])


def test_half_of_a_document_is_as_much_as_all_of_it_and_a_notice_is_not():
    with pytest.raises(OverlappingData):
        check_apart([calibration(told(1, first=13))], [heldout(told(1) + " But it ends otherwise.")])
    notice = told(9, first=22)
    check_apart([calibration(f"{told(1)} {notice}")], [heldout(f"{told(2)} {notice}")])


def test_languages_without_spaces_have_passages_too():
    sentences = [f"第{n}個故事講的是很久以前在海邊發生的一件事情誰也不記得了。" for n in range(40)]
    with pytest.raises(OverlappingData):
        check_apart([calibration("".join(sentences))], [heldout("".join(sentences[5:30]))])


def test_two_texts_to_fit_on_are_apart_and_two_to_measure_on_need_not_be():
    healing = Part("healing text", "--heal-data", text_of(told(1)))
    with pytest.raises(
        OverlappingData, match=r"the calibration text fit\.jsonl and in the healing text some"
    ):
        check_apart([calibration(told(1)), healing], [])
    check_apart([calibration(told(2))], [heldout(told(1)), heldout(told(1))])


def test_what_is_said_in_a_conversation_is_looked_for():
    turns = (Turn("user", "Tell me a story."), Turn("assistant", told(1)))
    text = Text(
        name="chats.jsonl",
        dataset=None,
        documents=("\n".join(turn.content for turn in turns),),
        conversations=(Conversation(turns=turns, templated=True),),
    )
    with pytest.raises(OverlappingData, match=r"the healing text chats\.jsonl"):
        check_apart([Part("healing text", "--heal-data", text)], [heldout(told(1))])


def test_a_question_that_stands_in_a_text_is_refused_and_a_short_one_is_not(tmp_path):
    asked = "Which of these things was it that the old man in the story told nobody about?"
    items = tmp_path / "items.jsonl"
    lines = [{"question": text, "choices": ["this", "that"], "answer": 0} for text in (asked, "What is ice?")]
    items.write_text("\n".join(map(json.dumps, lines)))
    questions = read_questions(items, 9).questions
    part = Part("multiple-choice items", "--choices", text_of(name="items.jsonl"))
    prompts = [question.question for question in questions]
    with pytest.raises(OverlappingData, match=r"1 questions are both .* begins 'Which of these"):
        check_questions([calibration(f"{told(1)} What is ice?\n\n{asked} {told(2)}")], prompts, part)
    check_questions([calibration(f"{told(1)} What is ice? {told(2)}")], prompts, part)


def test_a_built_in_text_loses_what_others_hold_and_nothing_else():
    text = text_of(told(1), told(2), f"{told(3)} {told(9, first=22)}", "short")
    others = [text_of(told(2)), text_of(f"{told(5)} {told(9, first=22)}", "Short")]
    assert leave_out(text, others).documents == (told(1), "short")


def test_one_file_for_two_purposes_is_an_error_before_anything_is_done(tiny_models, tmp_path):
    own = tmp_path / "own.jsonl"
    own.write_text("\n".join(json.dumps({"text": told(number)}) for number in range(9)))
    words = ("--calibration", str(own), "--eval-elsewhere", str(own), "--output", str(tmp_path / "run"))
    outcome = hf_prune(str(tiny_models("llama")), *words)
    assert outcome.code == 1
    assert "calibration text own.jsonl and in the text of another domain own.jsonl" in outcome.error()
    assert not (tmp_path / "run").exists()
