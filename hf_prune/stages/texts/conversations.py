"""Conversations to learn from: what was asked, what was answered, and which of their tokens count.

Three forms of JSON objects, one a line, are known: `messages` (a list of `role` and `content`), put into the
model's own chat template; `prompt` and `response`, taken as they are; and Alpaca's `instruction`, `input` and
`output`, put into the words that Alpaca was trained with.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from hf_prune.errors import UnusableText
from hf_prune.stages.texts.text import Conversation, Text, Turn, read_lines

ALPACA = (
    "Below is an instruction that describes a task{paired}. Write a response that appropriately completes "
    "the request.\n\n### Instruction:\n{instruction}\n\n{input}### Response:\n"
)
PAIRED = ", paired with an input that provides further context"
FORMS = ({"messages"}, {"prompt", "response"}, {"instruction", "output"})


def holds_conversations(path: Path) -> bool:
    """Whether the first object of a .jsonl file has the fields of one of the three forms."""
    if ".jsonl" not in path.suffixes or not path.is_file():
        return False
    first = next((line for line in read_lines(path) if line.strip()), "{}")
    try:
        found = json.loads(first)
    except ValueError:
        return False
    return isinstance(found, dict) and any(form <= set(found) for form in FORMS)


def read_conversations(path: Path) -> Text:
    """The conversations of a file; the documents of the text are their words.

    Raises:
        UnusableText: a line is not an object of one of the three forms.
    """
    lines = [(number, line) for number, line in enumerate(read_lines(path), 1) if line.strip()]
    conversations = tuple(_conversation(path, number, line) for number, line in lines)
    documents = tuple("\n".join(turn.content for turn in each.turns) for each in conversations)
    return Text(name=path.name, dataset=None, documents=documents, conversations=conversations)


def _conversation(path: Path, number: int, line: str) -> Conversation:
    try:
        found: dict[str, Any] = json.loads(line)
        if "messages" in found:
            turns = tuple(Turn(str(m["role"]), str(m["content"])) for m in found["messages"])
            return Conversation(turns=turns, templated=True)
        asked, answered = _pair(found)
    except (ValueError, KeyError, TypeError):
        raise UnusableText(
            f'{path}, line {number}, holds no conversation: give "messages", "prompt" and "response", or '
            f'"instruction" and "output"'
        ) from None
    return Conversation(turns=(Turn("user", asked), Turn("assistant", answered)), templated=False)


def _pair(found: dict[str, Any]) -> tuple[str, str]:
    if "response" in found:
        return str(found["prompt"]), str(found["response"])
    given = str(found.get("input") or "")
    asked = ALPACA.format(
        paired=PAIRED if given else "",
        instruction=found["instruction"],
        input=f"### Input:\n{given}\n\n" if given else "",
    )
    return asked, str(found["output"])


def tokenised(text: Text, tokenizer: PreTrainedTokenizerBase) -> Iterator[tuple[list[int], list[bool]]]:
    """The token ids of each conversation, and whether each is to be predicted: those of answers are.

    Args:
        text: that holds conversations.
        tokenizer: the model's own.

    Raises:
        UnusableText: there are messages, and the model has no chat template.
    """
    for conversation in text.conversations:
        if not conversation.templated:
            yield _plain(conversation, tokenizer)
        elif tokenizer.chat_template is None:
            raise UnusableText(
                f'{text.name} holds "messages", but this model has no chat template: give "prompt" and '
                f'"response"'
            )
        else:
            yield _templated(conversation, tokenizer)


def _plain(conversation: Conversation, tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[bool]]:
    asked, answered = (
        list(tokenizer(turn.content, add_special_tokens=False, verbose=False)["input_ids"])
        for turn in conversation.turns
    )
    start = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    before, after = start + asked, answered + end
    return before + after, [False] * len(before) + [True] * len(after)


def _templated(
    conversation: Conversation, tokenizer: PreTrainedTokenizerBase
) -> tuple[list[int], list[bool]]:
    messages = [{"role": turn.role, "content": turn.content} for turn in conversation.turns]
    ids: list[int] = []
    wanted: list[bool] = []
    said = ""
    for number, message in enumerate(messages):
        answers = message["role"] == "assistant"
        if answers:
            said = _add(said, _said(tokenizer, messages[:number], asking=True), False, ids, wanted, tokenizer)
        so_far = _said(tokenizer, messages[: number + 1], asking=False)
        said = _add(said, so_far, answers, ids, wanted, tokenizer)
    return ids, wanted


def _said(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]], *, asking: bool) -> str:
    said: Any = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=asking)
    return str(said)


def _add(
    said: str,
    so_far: str,
    counts: bool,
    ids: list[int],
    wanted: list[bool],
    tokenizer: PreTrainedTokenizerBase,
) -> str:
    """Append the tokens of what a conversation has grown by; what was said, as far as it is in them."""
    if not so_far.startswith(said):  # a template that leaves earlier words out later on
        return said
    new = list(tokenizer(so_far[len(said) :], add_special_tokens=False, verbose=False)["input_ids"])
    ids += new
    wanted += [counts] * len(new)
    return so_far
