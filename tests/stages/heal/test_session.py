"""A training is judged by the weights that would be published, on text that it was not trained on."""

from dataclasses import replace

import pytest
import torch

from hf_prune.machine.progress import silent
from hf_prune.model.decoder import open_decoder
from hf_prune.records import DepthLoss
from hf_prune.stages.heal.material import TEXT_FILE
from hf_prune.stages.heal.session import Session, Verdict, judge, train_together
from hf_prune.stages.heal.text import save_text, split_watched
from hf_prune.stages.heal.training import load_trained
from tests.support.healing_material import CPU, LORA, PARTIAL, some_text
from tests.support.plain import plain_logits, plain_losses, plain_model, some_tokens

TOKENS = some_tokens(2, 24)


def judged(model, plan, folder):
    """What a short training of a tiny model is judged to be, and what it was watched by."""
    folder.mkdir()
    save_text(some_text(20), folder / TEXT_FILE)
    session = Session(
        plan=plan,
        checkpoint=str(model),
        carriers=(2,),
        new_layers=(),
        folder=str(folder),
        lessons=None,
        device="cpu",
        seed=0,
        trust_remote_code=False,
        report_to="none",
        name="tiny",
    )
    train_together(session, silent)
    watched = split_watched(some_text(20))[1]
    return judge(session, load_trained(folder), watched, TOKENS, open_decoder(model, CPU)), watched


@pytest.mark.parametrize("plan", [LORA, PARTIAL], ids=["layer-by-layer", "whole"])
def test_the_loss_before_is_that_of_the_model_as_it_was(tiny_models, tmp_path, plan):
    model = tiny_models("llama")
    verdict, watched = judged(model, replace(plan, num_tokens=4 * 16 * 24), tmp_path / "training")
    losses, _ = plain_losses(plain_model(model), watched.ids)
    assert verdict.loss_before == pytest.approx(sum(losses) / len(losses), rel=1e-5)
    assert verdict.loss_after != verdict.loss_before
    assert (verdict.logits - plain_logits(plain_model(model), TOKENS)).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("before", "after", "better"),
    [(3.0, 2.9, True), (3.0, 3.0, False), (3.0, None, False), (None, 2.0, False)],
)
def test_only_a_lower_loss_is_better_and_one_that_is_not_finite_never_is(before, after, better):
    depths = (DepthLoss(layers=6, before=before, after=after),)
    assert Verdict(depths=depths, logits=torch.empty(0), folded={}).better is better
