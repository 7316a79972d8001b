"""Opening the original: who may touch the run's folder, and when."""

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
