"""The processes of one run, as `torchrun` starts them: setting up, who I am, sums over all, waiting for each other.

Rank 0 alone writes and prints. A process that fails ends; torchrun then ends the others.
"""

import ctypes
import gc
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
import torch.nn as nn

PATIENCE = timedelta(minutes=30)  # within a step, which takes seconds: a process that hangs is found out
WORK_PATIENCE = timedelta(days=7)  # while one downloads, measures or fits a model of its own: nobody knows how long
HOW_TO_START = (
    "Start processes with: torchrun --nproc-per-node=N train.py ..., and one alone without the variables WORLD_SIZE, "
    "RANK and LOCAL_WORLD_SIZE"
)
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


class NoGroup(RuntimeError):
    """The processes of a run do not find each other; the message says why, and how to start them."""


@dataclass(frozen=True)
class Processes:
    """Number `rank`, from 0, among `count` processes; one alone belongs to no group."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and prints."""
        return self.rank == 0

    def share(self, index: torch.Tensor) -> torch.Tensor:
        """Take this process's part of indices `(N,)`: every `count`-th; parts differ by one image at most."""
        return index[self.rank :: self.count] if self.count > 1 else index

    def sums(self, values: Mapping[str, float]) -> dict[str, float]:
        """Add up what each process has under the same names."""
        if self.count == 1:
            return dict(values)
        total = torch.tensor(list(values.values()), dtype=torch.float64)
        dist.all_reduce(total)
        return dict(zip(values, total.tolist(), strict=True))

    def agree(self, module: nn.Module) -> None:
        """Give every process the buffers of rank 0: running statistics differ where each saw its own images."""
        if self.count > 1:
            for buffer in module.buffers():
                dist.broadcast(buffer, 0)

    def wait(self) -> None:
        """Go on when all have come here, each after work of its own."""
        if self.count > 1:
            dist.all_reduce(torch.zeros(1), group=_patient)


ALONE = Processes()
_patient: dist.ProcessGroup | None = None  # all processes once more, for waiting


def start(device: torch.device) -> Processes:
    """Join the group that the variables of torchrun describe; alone where there are none.

    Raises:
        NoGroup: the variables are not those of a group, or the others are not there.
    """
    global _patient
    count = _number("WORLD_SIZE", 1)
    if count == 1:
        return ALONE
    if missing := [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]:
        raise NoGroup(f"the variable WORLD_SIZE is {count}, and {', '.join(missing)} missing. {HOW_TO_START}")
    if _number("RANK", 0) >= count:
        raise NoGroup(f"the variable RANK is {os.environ['RANK']} of WORLD_SIZE {count}. {HOW_TO_START}")
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
        _patient = dist.new_group(timeout=WORK_PATIENCE, backend="gloo")
    except (RuntimeError, ValueError, OSError) as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        reason = str(error).partition("\n")[0]
        raise NoGroup(f"{count} processes do not find each other at {where}: {reason}. {HOW_TO_START}") from error
    return Processes(dist.get_rank(), count)


def settle(threads: int) -> None:
    """Set this process up to train on a CPU. Before its first threads start, as they take the first setting over.

    Adam's averages of gradients that vanish get below 1e-38, where a processor is much slower: for `fc-ae` on
    Fashion-MNIST a third of the time. They are taken for zero.

    What a step allocates is kept for the next one. glibc would give it back to the system, which hands it out
    anew page by page: for `conv-vae` a third of the time.
    """
    torch.set_flush_denormal(True)
    torch.set_num_threads(threads)
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(M_MMAP_THRESHOLD, 2**30) or mallopt(M_MMAP_THRESHOLD, 2**25)  # the most that older ones take


def on_this_machine() -> int:
    """Count the processes that share this machine's cores.

    Raises:
        NoGroup: a variable says otherwise.
    """
    return _number("LOCAL_WORLD_SIZE", 1)


def _number(name: str, least: int) -> int:
    text = os.environ.get(name) or str(least)
    if not text.isdecimal() or len(text) > 9 or int(text) < least:
        raise NoGroup(f"the variable {name} is {text!r}, no whole number of at least {least}. {HOW_TO_START}")
    return int(text)


def stop() -> None:
    """Leave the group, if there is one.

    It ends its threads when its last user is gone, and DistributedDataParallel is one until it is collected: a thread
    that lets go of a tensor while Python ends would abort the process.
    """
    global _patient
    if dist.is_initialized():
        _patient = None
        gc.collect()
        dist.destroy_process_group()
