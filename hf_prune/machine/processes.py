"""Several processes that measure and heal together: each takes a part of the text.

`torchrun --nproc-per-node 2 -m hf_prune MODEL` starts them; without torchrun there is one.
"""

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as distributed
from torch import Tensor

from hf_prune.errors import HfPruneError

PATIENCE = timedelta(days=2)  # how long the others wait while the first one downloads, cuts and writes


@dataclass(frozen=True, slots=True)
class Ranks:
    """Which of how many processes this one is."""

    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes files and talks to the user."""
        return self.rank == 0

    def total(self, sums: Tensor) -> Tensor:
        """The sum of every process's `sums`, the same in all of them."""
        if self.count == 1:
            return sums
        shared = sums.clone()
        distributed.all_reduce(shared)
        return shared

    def wait(self) -> None:
        """Until every process has come here."""
        self.total(torch.zeros(1))

    def tell(self, word: Any) -> Any:
        """What the first process says, told to all; the others wait for it.

        Raises:
            HfPruneError: the first process has ended meanwhile.
        """
        words = [word]
        if self.count > 1:
            try:
                distributed.broadcast_object_list(words, src=0, device=torch.device("cpu"))
            except RuntimeError as error:
                raise HfPruneError("a process that works with this one has ended") from error
        return words[0]

    def agree(self, found: bool) -> bool:
        """What the first process found, told to all."""
        told = self.total(torch.tensor(float(found and self.leads)))
        return bool(told.item())


ALONE = Ranks()


def join(device: torch.device) -> Ranks:
    """Find the other processes that torchrun started, if it started this one.

    Args:
        device: what this process computes on.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        return ALONE
    if not distributed.is_initialized():
        backends = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        distributed.init_process_group(backends, timeout=PATIENCE)
    return Ranks(rank=distributed.get_rank(), count=count)


def leave() -> None:
    """Part from the others, at the end of a process."""
    if distributed.is_initialized():
        distributed.destroy_process_group()
