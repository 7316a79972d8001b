"""Conversations to learn from: questions, answers, and the tokens of the answers.

A file has one JSON object per line, in one of three forms: `messages` (a list of `role` and `content`), which
the model's own chat template renders; `prompt` and `response`, which stay as they are; or Alpaca's
`instruction`, `input` and `output`, which are put into the prompt that Alpaca was trained with.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict
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
Part = tuple[list[int], bool]  # token ids of a conversation, and whether they are an answer


def holds_conversations(path: Path) -> bool:
    """Whether the first object of a .jsonl file has the fields of one of the three forms."""
    if ".jsonl" not in path.suffixes or not path.is_file():
        return False
    first = next((line for line in read_lines(path) if line.strip()), "{}")
    try:
        fields = json.loads(first)
    except ValueError:
        return False
    return isinstance(fields, dict) and any(form <= set(fields) for form in FORMS)


def read_conversations(path: Path) -> Text:
    """The conversations of a file. The documents of the text are their words.

    Raises:
        UnusableText: a line is not an object of one of the three forms.
    """
    lines = [(number, line) for number, line in enumerate(read_lines(path), 1) if line.strip()]
    conversations = tuple(_conversation(path, number, line) for number, line in lines)
    documents = tuple("\n".join(turn.content for turn in each.turns) for each in conversations)
    return Text(name=path.name, dataset=None, documents=documents, conversations=conversations)


def _conversation(path: Path, number: int, line: str) -> Conversation:
    try:
        fields: dict[str, Any] = json.loads(line)
        if "messages" in fields:
            turns = tuple(Turn(str(m["role"]), str(m["content"])) for m in fields["messages"])
            return Conversation(turns=turns, templated=True)
        prompt, response = _prompt_and_response(fields)
    except (ValueError, KeyError, TypeError):
        raise UnusableText(
            f'{path}, line {number}, holds no conversation: give "messages", "prompt" and "response", or '
            f'"instruction" and "output"'
        ) from None
    return Conversation(turns=(Turn("user", prompt), Turn("assistant", response)), templated=False)


def _prompt_and_response(fields: dict[str, Any]) -> tuple[str, str]:
    if "response" in fields:
        return str(fields["prompt"]), str(fields["response"])
    context = str(fields.get("input") or "")
    prompt = ALPACA.format(
        paired=PAIRED if context else "",
        instruction=fields["instruction"],
        input=f"### Input:\n{context}\n\n" if context else "",
    )
    return prompt, str(fields["output"])


def tokenised(text: Text, tokenizer: PreTrainedTokenizerBase) -> Iterator[tuple[list[int], list[bool]]]:
    """The token ids of each conversation, and for each token whether it is part of an answer.

    Raises:
        UnusableText: the text has messages, and the model has no chat template.
    """
    for conversation in text.conversations:
        if conversation.templated and tokenizer.chat_template is None:
            raise UnusableText(
                f'{text.name} holds "messages", but this model has no chat template: give "prompt" and '
                f'"response"'
            )
        parts = list((_templated if conversation.templated else _plain)(conversation, tokenizer))
        ids = [token for part, _ in parts for token in part]
        yield ids, [is_answer for part, is_answer in parts for _ in part]


def _plain(conversation: Conversation, tokenizer: PreTrainedTokenizerBase) -> Iterator[Part]:
    prompt, response = (_ids(turn.content, tokenizer) for turn in conversation.turns)
    if tokenizer.bos_token_id is not None:
        prompt = [tokenizer.bos_token_id, *prompt]
    if tokenizer.eos_token_id is not None:
        response = [*response, tokenizer.eos_token_id]
    yield prompt, False
    yield response, True


def _ids(text: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def _templated(conversation: Conversation, tokenizer: PreTrainedTokenizerBase) -> Iterator[Part]:
    rendered = ""
    for longer, is_answer in _renderings(conversation, tokenizer):
        if longer.startswith(rendered):  # some templates drop earlier words later on
            yield _ids(longer[len(rendered) :], tokenizer), is_answer
            rendered = longer


def _renderings(conversation: Conversation, tokenizer: PreTrainedTokenizerBase) -> Iterator[tuple[str, bool]]:
    """The conversation up to each turn, and whether the words since the last yield are an answer."""
    messages = [asdict(turn) for turn in conversation.turns]

    def render(count: int, *, prompting: bool) -> str:
        begun, apply = messages[:count], tokenizer.apply_chat_template
        return str(apply(begun, tokenize=False, add_generation_prompt=prompting))

    for number, turn in enumerate(conversation.turns):
        is_answer = turn.role == "assistant"
        if is_answer:
            yield render(number, prompting=True), False
        yield render(number + 1, prompting=False), is_answer
