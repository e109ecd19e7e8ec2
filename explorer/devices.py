"""The device of a run: chosen by name, tried, and set up."""

import argparse
import gc
import os
from typing import Literal

import torch

Precision = Literal["bfloat16", "float32"]


def choose_device(name: str) -> torch.device:
    """Turn a name into a device that works here and make it the current one; "auto" takes CUDA, else mps, else the CPU.

    Of several processes on a machine each takes a GPU of its own (LOCAL_RANK is torchrun's). On CUDA cuDNN tries
    out its algorithms for each shape, as few shapes come by the thousand; and what is computed in float32 is not
    rounded to TF32's ten bits, as figures are: training multiplies in bfloat16, see `default_precision`.

    Raises:
        RuntimeError, AssertionError: torch does not know the device or cannot use it.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)) if device.index is None else device.index)
        torch.cuda.set_device(device)  # streams and graphs are those of the current device
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    torch.zeros(1, device=device)
    return device


def usable_device(name: str) -> torch.device:
    """Type for argparse: see `choose_device`; the error says that the device is not there."""
    try:
        return choose_device(name)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"device {name!r} is not there: {str(error).splitlines()[0]}") from error


def default_precision(device: torch.device) -> Precision:
    """Name the numbers that training multiplies in: bfloat16 on GPUs that have it (since Ampere), else float32."""
    has_it = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    return "bfloat16" if has_it else "float32"


def free_memory() -> None:
    """Give back what a model has left on a GPU, for the next one, whose images move there only where there is room."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
