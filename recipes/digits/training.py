"""The one training loop: AdamW, warm-up and cosine, averaged weights, everything from one seed."""

import logging
import math
import time
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

log = logging.getLogger("digits")

WARM_UP = 0.05
AVERAGED = 0.995


def deterministic(seed: int) -> torch.Generator:
    """Seed everything, and give the generator that batches are drawn with.

    Two threads whatever the machine has, because their number decides how sums are split. That is enough on the
    CPU, where two runs give the same bytes; torch.use_deterministic_algorithms makes a step of the autoencoder
    three times slower.
    """
    torch.set_num_threads(2)
    torch.manual_seed(seed)
    return torch.Generator().manual_seed(seed)


def descend(name: str, modules: Iterable[nn.Module], steps: int, peak: float, loss_of: Callable[[], Tensor]) -> None:
    """Train `modules` in place for `steps` steps of `loss_of()`, then give them the averaged weights.

    The forward pass is in bfloat16 by autocast; weights and their averages are float32. The rate rises to
    `peak` in the first twentieth and falls to zero along a cosine. Minutes are those of two cores left alone:
    half the processor time.
    """
    weights = [weight for module in modules for weight in module.parameters()]
    averages = [weight.detach().clone() for weight in weights]
    optimizer = torch.optim.AdamW(weights, lr=peak, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    started = time.process_time()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = peak * _rate(step, steps)
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        # Early averages follow quickly, or the random start would weigh in a short run.
        keep = min(AVERAGED, (1 + step) / (10 + step))
        torch._foreach_lerp_(averages, [weight.detach() for weight in weights], 1 - keep)
        if (step + 1) % 100 == 0 or step + 1 == steps:
            minutes = (time.process_time() - started) / 120
            log.info("%s: step %d of %d, loss %.4f, %.1f minutes", name, step + 1, steps, loss.item(), minutes)
    with torch.no_grad():
        for weight, average in zip(weights, averages, strict=True):
            weight.copy_(average)


def _rate(step: int, steps: int) -> float:
    """The share of the peak rate at `step`."""
    warm = max(1, round(WARM_UP * steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
