"""Conversations: which forms are read, and which of their tokens are to be learnt."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from hf_prune.errors import UnusableText
from hf_prune.stages.texts.conversations import holds_conversations, read_conversations, tokenised

TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.fixture
def tokenizer(tiny_models: Callable[..., Path]) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(tiny_models("llama"))


def write(path: Path, *objects: object) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in objects))
    return path


def learnt(path: Path, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The words that count, of each conversation."""
    found = []
    for ids, wanted in tokenised(read_conversations(path), tokenizer):
        assert len(ids) == len(wanted)
        kept = [token for token, counts in zip(ids, wanted, strict=True) if counts]
        found.append(tokenizer.decode(kept, skip_special_tokens=True))
    return found


def test_of_a_prompt_and_a_response_the_response_alone_counts(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    path = write(tmp_path / "a.jsonl", {"prompt": "Say a word.\n", "response": "A word."})
    assert learnt(path, tokenizer) == ["A word."]
    ((ids, wanted),) = tokenised(read_conversations(path), tokenizer)
    assert (ids[0], wanted[0]) == (tokenizer.bos_token_id, False)
    assert (ids[-1], wanted[-1]) == (tokenizer.eos_token_id, True)  # so that it learns to stop


def test_alpacas_fields_are_put_into_its_own_words(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    path = write(
        tmp_path / "alpaca.jsonl",
        {"instruction": "Add.", "input": "1 and 2", "output": "3"},
        {"instruction": "Greet.", "input": "", "output": "Hello."},
    )
    assert learnt(path, tokenizer) == ["3", "Hello."]
    asked = [each.turns[0].content for each in read_conversations(path).conversations]
    assert "paired with an input" in asked[0]
    assert "### Input:\n1 and 2\n" in asked[0]
    assert "### Input" not in asked[1]
    assert asked[1].endswith("### Response:\n")


def test_of_messages_every_answer_counts_within_the_models_template(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    tokenizer.chat_template = TEMPLATE
    turns = [("user", "One?"), ("assistant", "Yes."), ("user", "Two?"), ("assistant", "No.")]
    path = write(tmp_path / "m.jsonl", {"messages": [{"role": r, "content": c} for r, c in turns]})
    assert learnt(path, tokenizer) == ["Yes.\nNo.\n"]


def test_messages_need_a_template(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    path = write(tmp_path / "m.jsonl", {"messages": [{"role": "user", "content": "One?"}]})
    with pytest.raises(UnusableText, match="no chat template"):
        list(tokenised(read_conversations(path), tokenizer))


def test_a_line_that_is_none_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"prompt": "a", "response": "b"}, {"prompt": "c"})
    with pytest.raises(UnusableText, match="line 2, holds no conversation"):
        read_conversations(path)


def test_plain_documents_are_no_conversations(tmp_path: Path) -> None:
    assert not holds_conversations(write(tmp_path / "t.jsonl", {"text": "a"}))
    assert not holds_conversations(tmp_path / "absent.jsonl")
    assert not holds_conversations(tmp_path / "t.txt")
    assert holds_conversations(write(tmp_path / "a.jsonl", {"instruction": "a", "output": "b"}))
