"""Several processes that measure and heal together: each works on a part of the text.

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
    """The rank of this process among those that work together, as torch.distributed counts them."""

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
        """Wait until every process has called this."""
        self.total(torch.zeros(1))

    def broadcast(self, message: Any) -> Any:
        """The message of the first process, in every process; the others wait for it.

        Raises:
            HfPruneError: the first process has ended.
        """
        messages = [message]
        if self.count > 1:
            try:
                distributed.broadcast_object_list(messages, src=0, device=torch.device("cpu"))
            except RuntimeError as error:
                raise HfPruneError("a process that works with this one has ended") from error
        return messages[0]


ALONE = Ranks()


def join(device: torch.device) -> Ranks:
    """Join the processes that torchrun started; without torchrun this one is alone."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        return ALONE
    if not distributed.is_initialized():
        backends = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        distributed.init_process_group(backends, timeout=PATIENCE)
    return Ranks(rank=distributed.get_rank(), count=count)


def leave() -> None:
    """Leave the other processes, when this one ends."""
    if distributed.is_initialized():
        distributed.destroy_process_group()
