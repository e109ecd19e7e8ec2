"""A whole step of training as one CUDA graph: small models then wait for no launches, and for no Python."""

from collections.abc import Callable
from typing import Protocol

import torch

WARM_UP = 3  # steps before a CUDA graph is recorded; PyTorch's manual asks for them


class Recordable(Protocol):
    """What a graph needs of a step of training; see `training.Step`."""

    device: torch.device
    draws: torch.Generator
    optimizer: torch.optim.AdamW

    def gradients(self, index: torch.Tensor, images: torch.Tensor | None, n_images: int) -> torch.Tensor:
        """Compute the gradients for indices `(B,)`; return the loss."""


class Graph:
    """A step for batches of one size, recorded after `WARM_UP` steps that run as written.

    What changes from step to step stands in tensors that the graph reads: indices, learning rate, first beta.
    """

    def __init__(self, step: Recordable, batch_size: int) -> None:
        self.step, self.calls = step, 0
        self.index = torch.zeros(batch_size, dtype=torch.long, device=step.device)
        self.rate, self.beta = torch.zeros(2, device=step.device)

    def __call__(self, index: torch.Tensor) -> torch.Tensor:
        """Train on indices `(B,)`; return the loss."""
        self.calls += 1
        self.index.copy_(index)
        if self.calls <= WARM_UP:
            loss = on_side_stream(self._gradients)
            self.step.optimizer.step()
            return loss
        [group] = self.step.optimizer.param_groups
        self.rate.fill_(group["lr"])
        self.beta.fill_(group["betas"][0])
        if self.calls == WARM_UP + 1:
            self.step.optimizer.zero_grad(set_to_none=True)  # so that the graph owns the gradients
            self.replay, self.loss = record(self._run, self.step.draws)
        self.replay()
        return self.loss

    def _gradients(self) -> torch.Tensor:
        return self.step.gradients(self.index, None, len(self.index))

    def _run(self) -> torch.Tensor:
        loss = self._gradients()
        adamw_(self.step.optimizer, self.rate, self.beta)
        return loss


@torch.no_grad()
def adamw_(optimizer: torch.optim.AdamW, rate: torch.Tensor, beta: torch.Tensor) -> None:
    """Update the parameters of an optimiser and its state in place (Loshchilov & Hutter 2019, algorithm 2).

    The same as `optimizer.step()` but for learning rate and first beta, which are tensors `()` on the device: as
    numbers they would be recorded once and for all.
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
