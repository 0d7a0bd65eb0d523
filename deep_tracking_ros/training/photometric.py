"""Changes of light, colour and sharpness as cameras make them; geometry stays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PhotometricSettings:
    """How often (0 to 1) and how much a picture is changed."""

    light: float = 0.8  # gain, gamma and offset
    colour: float = 0.6  # saturation and white balance
    grey: float = 0.08
    motion_blur: float = 0.15
    defocus: float = 0.12
    down_sampling: float = 0.12
    jpeg: float = 0.12
    noise: float = 0.25


@cache
def _noise() -> NDArray[np.uint8]:
    """(384, 384, 3) normal noise of standard deviation 25 around 128, made once: drawing it anew is slow."""
    values = np.random.default_rng(0).normal(128, 25, (384, 384, 3))
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


def photometric(
    image: NDArray[np.uint8], rng: np.random.Generator, settings: PhotometricSettings | None = None
) -> NDArray[np.uint8]:
    """A copy of the picture (H, W, 3) BGR uint8 as another camera, hour or distance might show it."""
    s = settings or PhotometricSettings()
    height, width = image.shape[:2]
    out: NDArray[Any] = image
    chance = rng.random(8)
    if chance[0] < s.grey:
        out = cv2.cvtColor(cv2.cvtColor(out, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    elif chance[1] < s.colour:
        out = cv2.transform(out, _colour_matrix(rng))
    if chance[2] < s.light:
        out = cv2.LUT(out, _light_table(rng))
    if chance[3] < s.down_sampling:
        factor = rng.uniform(1.3, 3.0)
        small = (max(2, round(width / factor)), max(2, round(height / factor)))
        out = cv2.resize(out, small, interpolation=cv2.INTER_AREA)
        out = cv2.resize(out, (width, height), interpolation=cv2.INTER_LINEAR)
    if chance[4] < s.motion_blur:
        out = cv2.filter2D(out, -1, _line_kernel(rng), borderType=cv2.BORDER_REPLICATE)
    elif chance[5] < s.defocus:
        out = cv2.GaussianBlur(out, (0, 0), rng.uniform(0.5, 2.0))
    if chance[6] < s.noise and height <= 384 and width <= 384:
        y, x = rng.integers(0, 385 - height), rng.integers(0, 385 - width)
        amount = rng.uniform(0.05, 0.45)
        out = cv2.addWeighted(out, 1, _noise()[y : y + height, x : x + width], amount, -128 * amount)
    if chance[7] < s.jpeg:
        _, data = cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 70))])
        out = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))
    return np.asarray(out if out is not image else image.copy(), np.uint8)


def _colour_matrix(rng: np.random.Generator) -> NDArray[np.float32]:
    """Saturation around the grey axis, then a gain of each channel."""
    grey = np.tile(np.array([0.114, 0.587, 0.299]), (3, 1))
    saturation = rng.uniform(0.4, 1.6)
    gains = np.exp(rng.normal(0, 0.07, 3))
    return np.asarray(gains[:, None] * (saturation * np.eye(3) + (1 - saturation) * grey), np.float32)


def _light_table(rng: np.random.Generator) -> NDArray[np.uint8]:
    levels = np.arange(256) / 255
    gamma, gain, offset = np.exp(rng.normal(0, 0.22)), np.exp(rng.normal(0, 0.15)), rng.normal(0, 0.04)
    return np.asarray(np.clip(255 * (gain * levels**gamma + offset), 0, 255), np.uint8)


def _line_kernel(rng: np.random.Generator) -> NDArray[np.float32]:
    """A line of random length (3 to 13 px) and direction through the centre, of sum one."""
    length, angle = rng.uniform(3, 13), rng.uniform(0, np.pi)
    side = 2 * int(length / 2 + 1) + 1
    half = length / 2 * np.array([np.cos(angle), np.sin(angle)])
    ends = np.round((side // 2 + np.array([-half, half])) * 256).astype(int)
    kernel = np.zeros((side, side), np.uint8)
    cv2.line(kernel, ends[0].tolist(), ends[1].tolist(), 255, 1, cv2.LINE_AA, 8)
    return np.asarray(kernel / kernel.sum(dtype=np.float64), np.float32)
