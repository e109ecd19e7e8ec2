"""On CUDA: a whole step of training as one graph, and images that are copied while the device computes.

Small models then wait for no launches, and for no Python.
"""

from collections.abc import Callable
from typing import Protocol

import torch

WARM_UP = 3  # steps before a CUDA graph is recorded; PyTorch's manual asks for them


class Recordable(Protocol):
    """What a graph needs of a step of training; see `training.Step`."""

    draws: torch.Generator
    optimizer: torch.optim.AdamW

    def gradients(self, index: torch.Tensor, images: torch.Tensor | None, n_images: int) -> torch.Tensor:
        """Compute the gradients for indices `(B,)`, or for streamed images; return the loss."""


class Graph:
    """A step for batches of one size, recorded after `WARM_UP` steps that run as written.

    What changes from step to step stands in tensors that the graph reads: indices, streamed images, learning rate,
    first beta. The step is not kept: each would keep the other until the collector runs, and the GPU's memory with it.
    """

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, step: Recordable, index: torch.Tensor, images: torch.Tensor | None = None) -> torch.Tensor:
        """Train on indices `(B,)`, or on images `(B, C, H, W)` that were streamed for them; return the loss."""
        with torch.cuda.device_of(index):  # on another device nothing would be recorded, and nothing learned
            return self._train(step, index, images)

    def _train(self, step: Recordable, index: torch.Tensor, images: torch.Tensor | None) -> torch.Tensor:
        if self.calls == 0:
            self.index, self.images = index.clone(), None if images is None else images.clone()
            self.rate, self.beta = torch.zeros(2, device=index.device)
        self.calls += 1
        self.index.copy_(index)
        if images is not None:
            self.images.copy_(images)
        if self.calls <= WARM_UP:
            loss = on_side_stream(lambda: self._gradients(step))
            step.optimizer.step()
            return loss
        [group] = step.optimizer.param_groups
        self.rate.fill_(group["lr"])
        self.beta.fill_(group["betas"][0])
        if self.calls == WARM_UP + 1:
            step.optimizer.zero_grad(set_to_none=True)  # so that the graph owns the gradients
            self.replay, self.loss = record(lambda: self._run(step), step.draws)
        self.replay()
        return self.loss

    def _gradients(self, step: Recordable) -> torch.Tensor:
        return step.gradients(self.index, self.images, len(self.index))

    def _run(self, step: Recordable) -> torch.Tensor:
        loss = self._gradients(step)
        adamw_(step.optimizer, self.rate, self.beta)
        return loss


@torch.no_grad()
def adamw_(optimizer: torch.optim.AdamW, rate: torch.Tensor, beta: torch.Tensor) -> None:
    """Update the parameters of an optimiser and its state in place (Loshchilov & Hutter 2019, algorithm 2).

    The same as `optimizer.step()` but for learning rate and first beta, which are tensors `()` on the device. Of the
    library's own the rate can be one, but the fused update takes betas as numbers and the other one reads them back
    from the device: they would be recorded once and for all, or not at all, and a one-cycle schedule moves the first.
    """
    [group] = optimizer.param_groups
    parameters, beta2 = group["params"], group["betas"][1]
    gradients = [p.grad for p in parameters]
    states = [optimizer.state[p] for p in parameters]
    means, squares, counts = ([state[key] for state in states] for key in ("exp_avg", "exp_avg_sq", "step"))
    torch._foreach_add_(counts, 1)
    torch._foreach_mul_(means, beta)
    torch._foreach_add_(means, torch._foreach_mul(gradients, 1 - beta))
    torch._foreach_mul_(squares, beta2)
    torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)
    sizes = torch._foreach_sqrt(squares)
    torch._foreach_div_(sizes, (1 - beta2 ** counts[0]).sqrt())
    torch._foreach_add_(sizes, group["eps"])
    changes = torch._foreach_div(means, sizes)
    torch._foreach_mul_(changes, -rate / (1 - beta ** counts[0]))
    torch._foreach_mul_(parameters, 1 - rate * group["weight_decay"])
    torch._foreach_add_(parameters, changes)


def on_side_stream(run: Callable[[], torch.Tensor]) -> torch.Tensor:
    """Run on another CUDA stream, as what is to be recorded has to be run before."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        result = run()
    torch.cuda.current_stream().wait_stream(stream)
    return result


def record(run: Callable[[], torch.Tensor], generator: torch.Generator) -> tuple[Callable[[], None], torch.Tensor]:
    """Record what `run` launches without running it; return what replays it, and the tensor of its result."""
    graph = torch.cuda.CUDAGraph()
    graph.register_generator_state(generator)
    with torch.cuda.graph(graph):
        result = run()
    return graph.replay, result


class Copier:
    """Copies images to a GPU on a stream of its own, beside what is computed; `copy` may run in another thread."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.stream = device, torch.cuda.Stream(device)

    def copy(self, images: torch.Tensor) -> torch.Tensor:
        """Begin to copy images through pinned memory; the copy is there for those who `wait`."""
        torch.cuda.set_device(self.device)  # each thread begins with device 0
        with torch.cuda.stream(self.stream):
            return images.pin_memory().to(self.device, non_blocking=True)

    def wait(self, images: torch.Tensor) -> torch.Tensor:
        """Let what is computed from now on find whole what was copied so far."""
        computing = torch.cuda.current_stream(self.device)
        computing.wait_stream(self.stream)
        images.record_stream(computing)  # their memory is not given away before
        return images
