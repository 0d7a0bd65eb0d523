"""Fully connected layers that learn online to tell a target's boxes from those around it.

I. Jung, J. Son, M. Baek, B. Han, "Real-Time MDNet", ECCV 2018, section 4, as in H. Nam, B. Han, "Learning Multi-Domain
Convolutional Neural Networks for Visual Tracking" (MDNet), CVPR 2016, section 4: fc4, fc5 and a last layer fc6 that
belongs to the target score the features pooled from a box. In the first image they learn from many boxes; later from
the boxes of images in which the target was sure: at intervals from a long memory, and at once from a short one when
the score falls. Each step looks for the negatives that are hardest now.

The paper's two outputs, target and background, are one here, the difference of the two: it is all that their softmax
knows. Widths are smaller than the paper's 512, for CPUs. All functions take any number of targets at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from deep_tracking_ros.errors import InvalidBoxError
from deep_tracking_ros.parameters import parameter

Layers = tuple[Tensor, ...]
"""Weights and biases of fc4, fc5, fc6: (D, h), (h,), (h, h), (h,), (h, 1), (1,); with (T, ...) for T targets."""


@dataclass(frozen=True)
class MDNetSettings:
    """How the layers learn; counts of the paper where a CPU allows."""

    start_steps: int = parameter(50, "Steps in the first image.", minimum=1, maximum=10_000)
    steps: int = parameter(15, "Steps of an update.", minimum=1, maximum=10_000)
    rate: float = parameter(0.001, "Learning rate of fc4 and fc5.", minimum=0, maximum=10)
    last_rate: float = parameter(0.01, "Learning rate of fc6.", minimum=0, maximum=10)
    momentum: float = parameter(0.9, "Share of the last step that is taken again.", minimum=0, maximum=0.999)
    decay: float = parameter(5e-4, "Weight decay.", minimum=0, maximum=1)
    longest_gradient: float = parameter(10.0, "Length to which gradients are cut.", minimum=1e-3, maximum=1e6)
    positives: int = parameter(32, "Positives in each step.", minimum=1, maximum=4096)
    negatives: int = parameter(96, "Negatives in each step: the hardest of the candidates.", minimum=1, maximum=4096)
    candidates: int = parameter(384, "Negatives among which the hardest are looked for.", minimum=1, maximum=65_536)
    long_memory: int = parameter(100, "Images whose positives are remembered.", minimum=1, maximum=10_000)
    short_memory: int = parameter(20, "Images that short-term updates learn from.", minimum=1, maximum=10_000)
    update_every: int = parameter(10, "Images from one long-term update to the next.", minimum=1, maximum=10_000)
    seed: int = parameter(0, "Of fc6 and of the order of examples.", minimum=0)


@dataclass(frozen=True, eq=False)
class MDNetState:
    """What is known of one target; never changed in place."""

    layers: Layers
    positives: tuple[Tensor, ...]  # (n, D) of each remembered image, the newest last
    negatives: tuple[Tensor, ...]  # likewise
    age: int  # images since the start


def random_last(hidden: int, settings: MDNetSettings) -> Layers:
    """A new fc6 for a target, as each gets one over trained fc4 and fc5."""
    generator = torch.Generator().manual_seed(settings.seed + 1)
    return torch.randn(hidden, 1, generator=generator) * 0.01, torch.zeros(1)


def score(layers: Layers, features: Tensor) -> Tensor:
    """Logits (T, N) that boxes with features (T, N, D) show the target; layers of T targets, from `stacked`."""
    w4, b4, w5, b5, w6, b6 = layers
    x = functional.relu(torch.baddbmm(b4.unsqueeze(1), features, w4))
    x = functional.relu(torch.baddbmm(b5.unsqueeze(1), x, w5))
    return torch.baddbmm(b6.unsqueeze(1), x, w6).squeeze(2)


def stacked(states: Sequence[MDNetState]) -> Layers:
    """The layers of several targets as one, for `score`."""
    return tuple(torch.stack(parts) for parts in zip(*(state.layers for state in states), strict=True))


def start(
    positives: Sequence[Tensor], negatives: Sequence[Tensor], settings: MDNetSettings, trained: Layers
) -> list[MDNetState]:
    """Learn targets from boxes of the first image.

    Args:
        positives: for each target (n, D) features of boxes that overlap it by 0.7 and more.
        negatives: for each target (m, D) features of boxes that overlap it by 0.5 and less.
        settings: how.
        trained: fc4 and fc5 with their biases (and whatever follows) to start from; fc6 is new for each target.

    Raises:
        InvalidBoxError: a target has no boxes of one kind; of a box that fills the image there is no background.
    """
    for number, (p, n) in enumerate(zip(positives, negatives, strict=True)):
        if not len(p) or not len(n):
            raise InvalidBoxError(
                f"target {number} has {len(p)} boxes on it and {len(n)} beside it to learn from, it needs one of each "
                "at least; give a box that leaves background around it"
            )
    layers = (*trained[:4], *random_last(trained[3].shape[0], settings))
    states = [MDNetState(layers, (p,), (n,), 0) for p, n in zip(positives, negatives, strict=True)]
    learnt = _train(states, [(state.positives, state.negatives) for state in states], settings.start_steps, settings)
    return [replace(state, layers=one) for state, one in zip(states, learnt, strict=True)]


def update(
    states: Sequence[MDNetState],
    scores: Sequence[float],
    positives: Sequence[Tensor],
    negatives: Sequence[Tensor],
    settings: MDNetSettings,
) -> list[MDNetState]:
    """Remember the image, and learn where it is time or a target is no longer sure.

    Copies of one target that learn of the same images learn the same: it is done once, and they share the layers.

    Args:
        states: of T targets.
        scores: logits of the boxes that were chosen; above 0 the target is sure.
        positives: for each target (n, D) features of boxes around the chosen one; not looked at where it is not sure.
        negatives: for each target (m, D), IoU of 0.3 and less.
        settings: how.
    """
    new: list[MDNetState] = []
    due: dict[tuple[Any, ...], list[int]] = {}
    examples = []
    for t, state in enumerate(states):
        state = replace(state, age=state.age + 1)
        sure = scores[t] > 0
        if sure and len(positives[t]) and len(negatives[t]):
            state = replace(
                state,
                positives=(*state.positives, positives[t])[-settings.long_memory :],
                negatives=(*state.negatives, negatives[t])[-settings.short_memory :],
            )
        new.append(state)
        if not sure or state.age % settings.update_every == 0:
            positives_ = state.positives if sure else state.positives[-settings.short_memory :]
            same = due.setdefault(_identity(state.age, state.layers, positives_, state.negatives), [])
            same.append(t)
            if len(same) == 1:
                examples.append((positives_, state.negatives))
    if due:
        learnt = _train([new[copies[0]] for copies in due.values()], examples, settings.steps, settings)
        for copies, layers in zip(due.values(), learnt, strict=True):
            for t in copies:
                new[t] = replace(new[t], layers=layers)
    return new


def _identity(age: int, *tensors: tuple[Tensor, ...]) -> tuple[Any, ...]:
    """What tells apart what targets learn from; tensors are never written into, so copies of a target hold the same."""
    return age, *(tuple(map(id, some)) for some in tensors)


def _train(
    states: Sequence[MDNetState],
    examples: Sequence[tuple[tuple[Tensor, ...], tuple[Tensor, ...]]],
    steps: int,
    settings: MDNetSettings,
) -> list[Layers]:
    """Layers of all targets after gradient steps on their own positives and hardest negatives."""
    s = settings
    layers = tuple(part.clone().requires_grad_() for part in stacked(states))
    velocity = [torch.zeros_like(part) for part in layers]
    drawn = [
        (
            _minibatches(torch.cat(positives), s.positives, steps, s.seed + 2 * state.age),
            _minibatches(torch.cat(negatives), s.candidates, steps, s.seed + 2 * state.age + 1),
        )
        for state, (positives, negatives) in zip(states, examples, strict=True)
    ]
    for i in range(steps):
        positives = torch.stack([pool[order[i]] for (pool, order), _ in drawn])
        candidates = torch.stack([pool[order[i]] for _, (pool, order) in drawn])
        with torch.no_grad():
            hardest = score(layers, candidates).topk(min(s.negatives, s.candidates), 1).indices
        negatives = candidates.gather(1, hardest.unsqueeze(2).expand(-1, -1, candidates.shape[2]))
        with torch.enable_grad():
            logits = score(layers, torch.cat([positives, negatives], 1))
            on, off = logits[:, : s.positives], logits[:, s.positives :]
            # the mean over the boxes of each target; targets do not share weights
            loss = (functional.softplus(-on).sum(1) + functional.softplus(off).sum(1)) / logits.shape[1]
            gradients = torch.autograd.grad(loss.sum(), layers)
        squares = torch.stack([g.flatten(1).square().sum(1) for g in gradients])
        cut = (s.longest_gradient / squares.sum(0).sqrt().clamp(min=1e-12)).clamp(max=1)
        with torch.no_grad():
            for number, (part, g) in enumerate(zip(layers, gradients, strict=True)):
                rate = s.last_rate if number >= 4 else s.rate
                g = g * cut.reshape(-1, *[1] * (g.dim() - 1)) + s.decay * part
                velocity[number] = s.momentum * velocity[number] - rate * g
                part += velocity[number]
    return [tuple(part.detach()[t].clone() for part in layers) for t in range(len(states))]


def _minibatches(pool: Tensor, size: int, steps: int, seed: int) -> tuple[Tensor, Tensor]:
    """The pool, and for each step which (size,) of its rows are taken: all of them before any is taken again."""
    generator = torch.Generator().manual_seed(seed)
    rounds = -(-size * steps // len(pool))
    order = torch.cat([torch.randperm(len(pool), generator=generator) for _ in range(rounds)])
    return pool, order[: size * steps].reshape(steps, size)
