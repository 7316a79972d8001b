"""The original: its windows, and which process may touch the run's folder."""

import torch

from hf_prune.machine.processes import Ranks
from hf_prune.recipe.recipe import Recipe
from hf_prune.stages.original import locate, open_original


def test_a_helping_process_makes_no_folder_before_the_first_has_claimed_it(tiny_models, tmp_path):
    workspace, found = tmp_path / "run" / "checkpoints", []

    class Helper(Ranks):
        def wait(self):
            found.append(workspace.parent.exists())

    located = locate(Recipe(model=str(tiny_models("llama")), device="cpu"))
    open_original(located, workspace, ranks=Helper(rank=1, count=2))
    assert found == [False]


def original_of(folder, workspace, **settings):
    recipe = Recipe(model=str(folder), device="cpu", samples=8, eval_samples=4, **settings)
    return open_original(locate(recipe), workspace)


def test_a_window_is_no_longer_than_the_model_can_read(tiny_models, tmp_path):
    folder = tiny_models("llama", max_position_embeddings=128)
    lengths = [original_of(folder, tmp_path, sequence_length=n).window_length for n in (64, 512)]
    assert lengths == [64, 128]


def test_nothing_is_fitted_on_the_windows_that_choices_are_made_by(tiny_models, tmp_path):
    original = original_of(tiny_models("llama"), tmp_path, sequence_length=32)
    assert len(original.calibration.ids) == 12  # of 24 windows at most half are set aside
    assert len(original.selection.ids) == 12
    both = torch.cat([original.calibration.ids, original.selection.ids])
    assert len(both.unique(dim=0)) == 24
    assert torch.equal(original.short_calibration.ids, original.calibration.ids)
