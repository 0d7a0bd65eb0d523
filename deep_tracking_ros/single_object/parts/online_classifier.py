"""A small network that learns, while it tracks, where its target is and where things are that only look like it.

M. Danelljan, G. Bhat, F. S. Khan, M. Felsberg, "ATOM: Accurate Tracking by Overlap Maximization", CVPR 2019, sections
3.2 and 3.4. Scores are f(x; w) = phi(w2 * (w1 * x)): a 1x1 convolution to few channels, a 4x4 convolution to one, and
an exponential unit that does not mind how far below 0 easy background is. Both layers are learnt by Gauss-Newton in
the first image, from augmented views; later only w2, from a memory of views that age.

What is known of a target is a value, `ClassifierState`; all functions take any number of targets at once. Places are
(x, y) in cells of the features: the first cell's middle is (0, 0).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from deep_tracking_ros.parameters import parameter
from deep_tracking_ros.single_object.parts.gauss_newton import (
    Direction,
    GaussNewtonSettings,
    LeastSquares,
    Weights,
    gauss_newton,
)
from deep_tracking_ros.single_object.parts.peaks import Localisation, Verdict


@dataclass(frozen=True)
class ClassifierSettings:
    """How the classifier is made and learnt; where ATOM's paper gives a value, it is the default."""

    channels: int = parameter(64, "Channels between the two layers.", minimum=1, maximum=1024)
    kernel: int = parameter(4, "Side of the second layer's kernel, in cells.", minimum=1, maximum=31)
    softness: float = parameter(
        0.05, "Alpha of the exponential unit: the lowest score is -alpha.", minimum=1e-3, maximum=1
    )
    spread: float = parameter(0.25, "Deviation of labels, in sides of the target.", minimum=0.01, maximum=2)
    projection_penalty: float = parameter(1e-4, "Lambda of the first layer.", minimum=0, maximum=100)
    kernel_penalty: float = parameter(0.1, "Lambda of the second layer.", minimum=0, maximum=100)
    start_newton_steps: int = parameter(6, "Gauss-Newton steps in the first image.", minimum=1, maximum=100)
    start_conjugate_steps: int = parameter(10, "Conjugate gradient steps in each of them.", minimum=1, maximum=1000)
    conjugate_steps: int = parameter(5, "Conjugate gradient steps of an update.", minimum=1, maximum=1000)
    momentum: float = parameter(0.6, "How much of the last direction an update goes on with.", minimum=0, maximum=1)
    update_every: int = parameter(10, "Images from one update to the next.", minimum=1, maximum=10_000)
    memory: int = parameter(
        30, "Views that are remembered, those of the first image included.", minimum=2, maximum=1000
    )
    rate: float = parameter(0.01, "Share of a new view in the loss.", minimum=0, maximum=1)
    hard_rate: float = parameter(0.02, "Share of a new view with a distractor in it.", minimum=0, maximum=1)
    first_share: float = parameter(0.25, "Least share of the first image's views.", minimum=0, maximum=1)
    seed: int = parameter(0, "Of the first layer before it learns.", minimum=0)


@dataclass(frozen=True, eq=False)
class ClassifierState:
    """What is known of one target; never changed in place."""

    projection: Tensor  # (D, C) w1
    kernel: Tensor  # (D, k, k) w2
    samples: Tensor  # (M, D, H, W) views after the first layer
    labels: Tensor  # (M, H', W') what their scores should be
    importance: Tensor  # (M,) gamma, sums to 1; 0 = an empty place
    first: int  # views of the first image, which are never replaced
    age: int  # images since the start
    phase: int  # images by which this target's updates are later than others', so that not all come at once
    direction: Direction  # where the last update went, as one problem


def start(
    features: Tensor, centres: Tensor, sizes: Tensor, settings: ClassifierSettings, phase: int = 0
) -> list[ClassifierState]:
    """Learn targets from augmented views of the first image, both layers together.

    Args:
        features: (T, A, C, H, W) of A views (shifted, turned, blurred, ...) of each target, A below the memory's size.
        centres: (T, A, 2) x, y of the target in each view, cells.
        sizes: (T, 2) width and height of the target, cells.
        settings: how.
        phase: of the first target, see `ClassifierState`; the others follow one image later each.
    """
    s, views = settings, features.shape[1]
    problem, weights = first_problem(features, centres, sizes, settings)
    steps = GaussNewtonSettings(s.start_newton_steps, s.start_conjugate_steps)
    (projection, kernel), _ = gauss_newton(problem, weights, steps)
    x = normalised(features)
    y = labels(centres, sizes, _score_size(features.shape[3:], s.kernel), settings)
    empty = s.memory - views
    samples = functional.pad(_projected(x, projection), (0, 0, 0, 0, 0, 0, 0, empty))
    y = functional.pad(y, (0, 0, 0, 0, 0, empty))
    importance = functional.pad(features.new_full((views,), 1 / views), (0, empty))
    return [
        ClassifierState(
            projection[t], kernel[t], samples[t], y[t], importance, views, 0, (phase + t) % s.update_every,
            Direction((torch.zeros_like(kernel[:1]),), (torch.zeros_like(kernel[:1]),), kernel.new_ones(1)),
        )
        for t in range(len(features))
    ]  # fmt: skip


def first_problem(
    features: Tensor, centres: Tensor, sizes: Tensor, settings: ClassifierSettings
) -> tuple[LeastSquares, Weights]:
    """What `start` minimises, and where it begins: the first layer at random, the second at 0.

    Args and shapes are those of `start`; the weights are (T, D, C) and (T, D, k, k).
    """
    s = settings
    targets, views, channels = features.shape[:3]
    generator = torch.Generator().manual_seed(s.seed)
    first = torch.randn(s.channels, channels, generator=generator).to(features) / channels**0.5
    x = normalised(features)
    y = labels(centres, sizes, _score_size(features.shape[3:], s.kernel), settings)

    def residuals(weights: Weights) -> Tensor:
        return _scores(_projected(x, weights[0]), weights[1], s.softness) - y

    importance = features.new_full((1, views, 1, 1), 1 / views)
    problem = LeastSquares(residuals, (s.projection_penalty, s.kernel_penalty), importance)
    start_at = first.expand(targets, -1, -1).clone(), features.new_zeros(targets, s.channels, s.kernel, s.kernel)
    return problem, start_at


def score(states: Sequence[ClassifierState], features: Tensor, settings: ClassifierSettings) -> Tensor:
    """Scores (T, H', W') of all places in the features (T, C, H, W) of each target; about 1 on it, 0 elsewhere.

    An even kernel looks at places between cells: then H' = H + 1; see `first_place`.
    """
    projected = _projected(normalised(features.unsqueeze(1)), torch.stack([state.projection for state in states]))
    return _scores(projected, torch.stack([state.kernel for state in states]), settings.softness)[:, 0]


def update(
    states: Sequence[ClassifierState],
    features: Tensor,
    found: Sequence[Localisation],
    centres: Tensor,
    sizes: Tensor,
    settings: ClassifierSettings,
) -> list[ClassifierState]:
    """Remember what was seen, and learn from it where it is time or a distractor was there (ATOM, section 3.4).

    Nothing is remembered of images in which the target was not found or is in doubt. A distractor makes the view count
    twice as much, and is learnt at once. All targets that learn do so together.

    Args:
        states: of T targets.
        features: (T, C, H, W) of the image.
        found: what `peaks.localise` said of the targets' scores.
        centres: (T, 2) x, y of the targets in cells, after all refinement.
        sizes: (T, 2) width and height, cells.
        settings: how.
    """
    s = settings
    seen = [t for t, one in enumerate(found) if one.verdict in (Verdict.FOUND, Verdict.HARD_NEGATIVE)]
    new = [replace(state, age=state.age + 1) for state in states]
    if not seen:
        return new
    x = _projected(normalised(features[seen].unsqueeze(1)), torch.stack([new[t].projection for t in seen]))[:, 0]
    y = labels(centres[seen].unsqueeze(1), sizes[seen], _score_size(features.shape[2:], s.kernel), s)[:, 0]
    for sample, label, t in zip(x, y, seen, strict=True):
        rate = s.hard_rate if found[t].verdict == Verdict.HARD_NEGATIVE else s.rate
        new[t] = remember(new[t], sample, label, rate, s.first_share)
    due = [
        t
        for t in seen
        if found[t].verdict == Verdict.HARD_NEGATIVE or (new[t].age + new[t].phase) % s.update_every == 0
    ]
    if due:
        for t, learnt in zip(due, learn([new[t] for t in due], s), strict=True):
            new[t] = learnt
    return new


def learn(states: Sequence[ClassifierState], settings: ClassifierSettings) -> list[ClassifierState]:
    """One Gauss-Newton step of the second layer of all targets on their memories."""
    samples, y = torch.stack([state.samples for state in states]), torch.stack([state.labels for state in states])
    importance = torch.stack([state.importance for state in states])
    used = int((importance > 0).any(0).sum())  # places are filled in order
    samples, y, importance = samples[:, :used], y[:, :used], importance[:, :used, None, None]

    def residuals(weights: Weights) -> Tensor:
        return _scores(samples, weights[0], settings.softness) - y

    problem = LeastSquares(residuals, (settings.kernel_penalty,), importance)
    steps = GaussNewtonSettings(1, settings.conjugate_steps, momentum=settings.momentum)
    last = [state.direction for state in states]
    joined = Direction(
        (torch.cat([one.step[0] for one in last]),),
        (torch.cat([one.gradient[0] for one in last]),),
        torch.cat([one.squared for one in last]),
    )
    (kernel,), d = gauss_newton(problem, (torch.stack([state.kernel for state in states]),), steps, joined)
    return [
        replace(
            state, kernel=kernel[t],
            direction=Direction((d.step[0][t : t + 1],), (d.gradient[0][t : t + 1],), d.squared[t : t + 1]),
        )
        for t, state in enumerate(states)
    ]  # fmt: skip


def remember(state: ClassifierState, sample: Tensor, label: Tensor, rate: float, first_share: float) -> ClassifierState:
    """The state with one more view (D, H, W), in the place of the least important one where all are taken.

    The new view has the share ``rate`` of the loss; the others keep what is left, those of the first image together at
    least ``first_share``.
    """
    importance = state.importance.clone()
    later = importance[state.first :]
    if not len(later):
        return state
    place = state.first + int(later.argmin())  # of several empty places, the first
    importance[place] = 0
    importance *= (1 - rate) / importance.sum()
    importance[place] = rate
    if (share := importance[: state.first].sum()) < first_share:
        importance[: state.first] *= first_share / share
        importance[state.first :] *= (1 - first_share) / importance[state.first :].sum()
    samples, labels_ = state.samples.clone(), state.labels.clone()
    samples[place], labels_[place] = sample, label
    return replace(state, samples=samples, labels=labels_, importance=importance)


def first_place(settings: ClassifierSettings) -> float:
    """Where the first score is, in cells of the features, along both axes: add it to places in the scores."""
    return -0.5 if settings.kernel % 2 == 0 else 0.0


def normalised(features: Tensor) -> Tensor:
    """Features (..., C, H, W) with a mean square of 1, so that penalties mean the same for every backbone."""
    return features / features.square().mean((-3, -2, -1), keepdim=True).clamp(min=1e-12).sqrt()


def labels(centres: Tensor, sizes: Tensor, shape: tuple[int, int], settings: ClassifierSettings) -> Tensor:
    """Gaussians (T, A, H', W') of height 1 at the targets' centres (T, A, 2), as wide as the targets (T, 2) say."""
    sigma = settings.spread * sizes.prod(1).sqrt().reshape(-1, 1, 1)
    x = torch.arange(shape[1]).to(centres) + first_place(settings) - centres[..., :1]
    y = torch.arange(shape[0]).to(centres) + first_place(settings) - centres[..., 1:]
    across, down = (torch.exp(-0.5 * (line / sigma).square()) for line in (x, y))
    return down.unsqueeze(3) * across.unsqueeze(2)


def _projected(x: Tensor, projection: Tensor) -> Tensor:
    """(T, M, D, H, W): the first layer (T, D, C) on views (T, M, C, H, W)."""
    targets, views, _, rows, columns = x.shape
    return torch.matmul(projection.unsqueeze(1), x.flatten(3)).reshape(targets, views, -1, rows, columns)


def _score_size(shape: Sequence[int], kernel: int) -> tuple[int, int]:
    more = 1 - kernel % 2
    return shape[0] + more, shape[1] + more


def _scores(z: Tensor, kernel: Tensor, softness: float) -> Tensor:
    """(T, M, H', W'): second layer (T, D, k, k) and exponential unit on projected views (T, M, D, H, W).

    The convolution is a product of all taps with all cells, whose parts are added where they belong. With its two
    derivatives that took a fifth (one target) to a sixteenth (eight) of the time of ``conv2d`` in groups.
    """
    targets, views, channels, rows, columns = z.shape
    k = kernel.shape[2]
    taps = kernel.flip(2, 3).reshape(targets, 1, channels, k * k).transpose(2, 3)
    taps = taps.expand(-1, views, -1, -1).reshape(-1, k * k, channels)
    products = torch.bmm(taps, z.reshape(-1, channels, rows * columns))
    full = functional.fold(products, (rows + k - 1, columns + k - 1), k)
    cut = k - 1 - k // 2
    height, width = _score_size((rows, columns), k)
    full = full.reshape(targets, views, rows + k - 1, columns + k - 1)
    return functional.celu(full[:, :, cut : cut + height, cut : cut + width], softness)
