"""The original answers prompts by itself, and its answers alone are learnt."""

import shutil

import pytest
import torch
from transformers import AutoTokenizer

from hf_prune.errors import RecipeError
from hf_prune.machine.progress import silent
from hf_prune.model.decoder import open_decoder
from hf_prune.stages.heal.responses import answer, prompts_from
from tests.support.healing_material import CPU
from tests.support.plain import plain_logits, plain_model

TEMPLATE = (
    "{% for m in messages %}<q>{{ m['content'] }}</q>{% endfor %}{% if add_generation_prompt %}<a>{% endif %}"
)
PROMPTS = ["Why is the sky blue?", "A", "Tell me of the sea, and of what lives in it."]


@pytest.fixture
def chatting(trained_model, tmp_path):
    folder = shutil.copytree(trained_model, tmp_path / "chat")
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


def answers_of(folder, seed=0):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return list(answer(open_decoder(folder, CPU), tokenizer, PROMPTS, seed=seed, progress=silent))


def test_each_prompt_is_asked_as_the_chat_template_has_it_and_only_the_answer_counts(chatting):
    tokenizer = AutoTokenizer.from_pretrained(chatting)
    for prompt, (ids, wanted) in zip(PROMPTS, answers_of(chatting), strict=True):
        asked = tokenizer(f"<q>{prompt}</q><a>", add_special_tokens=False)["input_ids"]
        assert ids[: len(asked)] == asked
        assert wanted == [False] * len(asked) + [True] * (len(ids) - len(asked))
        assert len(ids) > len(asked)


def test_answers_are_what_the_model_itself_finds_likely(chatting):
    """Its own words surprise it less than the same words in another order."""
    model, generator = plain_model(chatting), torch.Generator().manual_seed(0)
    for ids, wanted in answers_of(chatting):
        first = wanted.index(True)
        mixed = ids[:first] + [ids[first:][n] for n in torch.randperm(len(ids) - first, generator=generator)]
        losses = []
        for tokens in (torch.tensor([ids]), torch.tensor([mixed])):
            logprobs = plain_logits(model, tokens[:, :128])[0, first - 1 : -1].log_softmax(-1)
            losses.append(-logprobs.gather(-1, tokens[0, first:128, None]).mean().item())
        assert losses[0] < losses[1]


def test_an_answer_ends_where_the_model_ends_it(chatting):
    end = AutoTokenizer.from_pretrained(chatting).eos_token_id
    for ids, _ in answers_of(chatting):
        assert end not in ids[:-1]


def test_the_same_seed_gives_the_same_answers_and_another_gives_others(chatting):
    assert answers_of(chatting) == answers_of(chatting)
    assert answers_of(chatting) != answers_of(chatting, seed=1)


def test_a_model_that_cannot_be_asked_is_refused(trained_model):
    with pytest.raises(RecipeError, match="no chat template"):
        answers_of(trained_model)


def test_prompts_are_made_of_documents_where_the_user_brings_none():
    documents = ["The sea is wide. It has fish in it.\nAnd ships."] * 6
    prompts = prompts_from(documents)
    assert len(prompts) == 6
    assert len(set(prompts)) == 5
    assert all("The sea is wide" in prompt for prompt in prompts)
