"""Opening the original: who may touch the run's folder, and when."""

from hf_prune.original import locate, open_original
from hf_prune.ranks import Ranks
from hf_prune.recipe import Recipe


def test_a_helping_process_makes_no_folder_before_the_first_has_claimed_it(tiny_models, tmp_path):
    workspace, found = tmp_path / "run" / "checkpoints", []

    class Helper(Ranks):
        def wait(self):
            found.append(workspace.parent.exists())

    located = locate(Recipe(model=str(tiny_models("llama")), device="cpu"))
    open_original(located, workspace, ranks=Helper(rank=1, count=2))
    assert found == [False]
