"""Objects as sets of points: from the points that a network places to boxes.

Z. Yang, S. Liu, H. Hu, L. Wang, S. Lin, "RepPoints: Point Set Representation for Object Detection", ICCV 2019: every
cell places n points, and their pseudo-box is what a box is asked of. Z. Yang, Y. Xu, H. Xue, Z. Zhang, R. Urtasun, L.
Wang, S. Lin, H. Hu, "Dense RepPoints", ECCV 2020: with many points, supervised as a set, they describe the border;
`contours` has what is done with those then. Points here are (y, x) pairs in cells from the middle of their own cell,
in the order that the offsets of `deformable.deform_conv2d` have.
"""

from __future__ import annotations

import torch
from torch import Tensor

from deep_tracking_ros.single_object.parts.deformable import kernel_places


def points_to_box(points: Tensor) -> Tensor:
    """Min-max pseudo-box (RepPoints): the smallest box around the points.

    Only the outermost points get a gradient. The paper's partial min-max takes some of the points: give a slice.

    Args:
        points: (B, 2 n, H, W) y and x of each point, in cells from their own cell.

    Returns:
        (B, 4, H, W) xyxy, in cells from their own cell; `to_crop` makes px of it.
    """
    y, x = points[:, 0::2], points[:, 1::2]
    return torch.stack([x.amin(1), y.amin(1), x.amax(1), y.amax(1)], 1)


def points_to_moment_box(points: Tensor, log_scale: Tensor) -> Tensor:
    """Moment-based pseudo-box (RepPoints): mean and standard deviation of the points.

    All points get a gradient, so learning is smoother than with `points_to_box`.

    Args:
        points: (B, 2 n, H, W) y and x of each point, in cells from their own cell.
        log_scale: (2,) learnt logarithms of half the width and half the height per standard deviation; points spread
            evenly over a box have ln sqrt 3 = 0.55.

    Returns:
        (B, 4, H, W) xyxy, in cells from their own cell.
    """
    y, x = points[:, 0::2], points[:, 1::2]
    middle = torch.stack([x.mean(1), y.mean(1)], 1)
    # below 1e-6 square cells the points are one, whose deviation has no slope
    variance = torch.stack([(x - middle[:, :1]).square().mean(1), (y - middle[:, 1:]).square().mean(1)], 1)
    half = variance.clamp(min=1e-6).sqrt() * log_scale.exp().reshape(2, 1, 1)
    return torch.cat([middle - half, middle + half], 1)


def points_to_offsets(points: Tensor, height: int, width: int) -> Tensor:
    """Offsets with which the taps of a kernel read at the points (RepPoints), both (B, 2 h w, H, W)."""
    return points - kernel_places(height, width).to(points).reshape(1, -1, 1, 1)


def to_crop(boxes: Tensor, stride: float, offset: float) -> Tensor:
    """Boxes (B, 4, H, W) xyxy from cells, each counted from its own cell, to crop px.

    The first cell lies at ``offset`` px, the next one ``stride`` px further.
    """
    rows, columns = boxes.shape[2:]
    y = torch.arange(rows, device=boxes.device).to(boxes.dtype).reshape(-1, 1).expand(rows, columns)
    x = torch.arange(columns, device=boxes.device).to(boxes.dtype).expand(rows, columns)
    return (boxes + torch.stack([x, y, x, y])) * stride + offset


def set_distance(points: Tensor, targets: Tensor) -> Tensor:
    """Chamfer distance between two sets (Dense RepPoints): no point has to meet a certain target.

    Args:
        points: (..., n, 2).
        targets: (..., m, 2) in the same unit.

    Returns:
        (...) mean distance of points to their nearest target and of targets to their nearest point, halved.
    """
    # not cdist: its gradient is of no use where a point lies on its target
    squared = (points.unsqueeze(-2) - targets.unsqueeze(-3)).square().sum(-1)  # (..., n, m)
    near_target, near_point = squared.amin(-1), squared.amin(-2)
    return (near_target.clamp(min=1e-12).sqrt().mean(-1) + near_point.clamp(min=1e-12).sqrt().mean(-1)) / 2
