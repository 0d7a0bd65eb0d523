"""Random scenes: cut-outs and shapes that move over photographs, with look-alikes and occluders."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from deep_tracking_ros.errors import DataError
from deep_tracking_ros.training.motion import Deformation, Motion, Spline
from deep_tracking_ros.training.pictures import PictureSet
from deep_tracking_ros.training.procedural import shape
from deep_tracking_ros.training.render import render
from deep_tracking_ros.training.scene import Layer, Scene, premultiplied
from deep_tracking_ros.training.views import Pair, TargetView

Picture4 = NDArray[np.uint8]  # (h, w, 4) BGRA, not premultiplied
KNOTS = 6  # of each spline
SHAPE = -1  # in place of the number of a cut-out


@dataclass(frozen=True)
class SceneSettings:
    """How scenes are drawn. Shares are 0 to 1; sizes are the square root of an object's area in px."""

    width: int = 320
    height: int = 288
    smallest: float = 26.0
    largest: float = 66.0
    shapes: float = 0.2  # share of objects that are shapes with a photograph's texture, not cut-outs
    blended: float = 0.15  # share of cut-outs that are mixed with another texture
    distractors: int = 3  # at most
    look_alikes: float = 0.4  # share of scenes whose distractors are of the target's class, or the target re-coloured
    occluded: float = 0.3  # share of scenes in which something passes before the target
    deformed: float = 0.6  # share of objects that bend elastically
    bent: float = 0.35  # share of the deformed in which one part turns about a joint
    travel: float = 0.25  # of the target, as share of the picture
    log_scale: float = 0.35
    rotation: float = 0.3  # rad; one object in six turns three times as much
    perspective: float = 0.18  # depth of an object against its distance
    camera: float = 0.12  # shift of the camera, as share of the picture; its turn and zoom follow
    other_background: float = 0.25  # share of search pictures with another background than the template
    exposure: float = 0.12  # share of search pictures with motion blur of all that moves
    least_visible: float = 0.25  # of the target in the search picture; the template shows at least 0.7


@dataclass(frozen=True, eq=False)
class DrawnScene:
    """A scene over the times 0 to 1 with one target; ``target`` and ``distractors`` are numbers of its layers."""

    scene: Scene
    target: int
    distractors: tuple[int, ...]


def draw_scene(
    pictures: PictureSet, rng: np.random.Generator, settings: SceneSettings | None = None, calm: float = 1.0
) -> DrawnScene:
    """A random scene.

    Args:
        pictures: backgrounds, textures and cut-outs.
        rng: the only source of chance.
        settings: what is drawn how often.
        calm: 1 = as the settings say; towards 0 the target stays in the middle and camera and objects rest.
    """
    s = settings or SceneSettings()
    picture_size = np.array([s.width, s.height])
    size = float(np.exp(rng.uniform(np.log(s.smallest), np.log(s.largest))))
    number, thing = draw_object(pictures, rng, s)
    label = _label(pictures, number)
    path = picture_size / 2 + picture_size * calm * rng.uniform(-s.travel, s.travel, (2, 2))
    target = moving_layer(thing, label, size, path, rng, s, calm)

    below: list[Layer] = []
    above: list[Layer] = []
    alike = rng.random() < s.look_alikes
    for _ in range(int(rng.integers(1 if alike else 0, s.distractors + 1)) if s.distractors else 0):
        kind, other = _look_alike(pictures, rng, number, thing) if alike else draw_object(pictures, rng, s)
        # beside the target at both ends of the time, each time in a direction of its own
        places = path + _directions(rng, 2) * size * rng.uniform(1.0, 2.6, (2, 1))
        layer = moving_layer(
            other, _label(pictures, kind), size * float(np.exp(rng.uniform(-0.4, 0.4))), places, rng, s, calm
        )
        (below if rng.random() < 0.6 else above).append(layer)
    occluders = []
    if rng.random() < s.occluded:
        kind, other = draw_object(pictures, rng, replace(s, shapes=0.5))
        places = path + _directions(rng, 2) * size * np.array([[rng.uniform(1.1, 2.2)], [rng.uniform(0.2, 0.8)]])
        occluders.append(
            moving_layer(other, _label(pictures, kind), size * float(rng.uniform(0.5, 1.1)), places, rng, s, calm)
        )

    layers = (draw_background(pictures, rng, s), *below, target, *above, *occluders)
    place = 1 + len(below)
    others = (*range(1, place), *range(place + 1, place + 1 + len(above)))
    return DrawnScene(Scene(s.width, s.height, layers, _camera(rng, s, calm)), place, others)


def draw_pair(
    pictures: PictureSet, rng: np.random.Generator, negative: bool, settings: SceneSettings | None = None
) -> Pair:
    """Two pictures of one random scene, the template at time 0 and the search later.

    Negative: the target is taken out of the search picture, and the box is that of a distractor, or where there is
    none that of the empty place.
    """
    s = settings or SceneSettings()
    for attempt in range(30):
        # what hides its target or lets it leave is drawn again, calmer each time
        drawn = draw_scene(pictures, rng, s if attempt < 10 else replace(s, distractors=0, occluded=0), 0.85**attempt)
        template = _view(drawn.scene, drawn.target, 0.0, 0.0)
        if template is None or template.visibility < 0.7:
            continue
        scene, target = drawn.scene, drawn.target
        if rng.random() < s.other_background:
            scene = replace(scene, layers=(draw_background(pictures, rng, s), *scene.layers[1:]))
        time = float(rng.uniform(0.3, 1.0))
        exposure = float(rng.uniform(0.05, 0.3)) if rng.random() < s.exposure else 0.0
        if negative and drawn.distractors:
            target = int(rng.choice(drawn.distractors))
        search = _view(scene, target, time, exposure)
        if search is None or search.visibility < s.least_visible:
            continue
        if negative:
            # drawn once with the target, to know the boxes, and once without
            rest = replace(scene, layers=tuple(x for i, x in enumerate(scene.layers) if i != drawn.target))
            search = TargetView(render(rest, time, exposure, 3).image, search.box, None, 0.0)
        return Pair(template, search, not negative, "composite")
    raise DataError("no visible target in 30 random scenes; are the cut-outs empty or the picture far too small?")


def _view(scene: Scene, layer: int, t: float, exposure: float) -> TargetView | None:
    rendering = render(scene, t, exposure, 3)
    box = rendering.box_on_picture(layer)
    if not np.isfinite(box).all() or (box[2:] - box[:2]).min() < 8:
        return None
    return TargetView(rendering.image, box, rendering.visible(layer), float(rendering.visibility[layer]))


def draw_background(pictures: PictureSet, rng: np.random.Generator, settings: SceneSettings) -> Layer:
    """A random part of a random picture, a little larger than the scene."""
    width, height = round(settings.width * 1.2), round(settings.height * 1.2)
    part = _photograph(pictures, rng, width, height)
    middle = np.array([width - 1, height - 1]) / 2
    path = np.zeros(8)
    path[:2] = (settings.width - 1) / 2, (settings.height - 1) / 2
    return Layer(premultiplied(part), Motion(middle, Spline.constant(path)), label="background")


def draw_object(pictures: PictureSet, rng: np.random.Generator, settings: SceneSettings) -> tuple[int, Picture4]:
    """Number and BGRA picture of a cut-out, or -1 and a shape textured with a photograph."""
    if not pictures.cutouts or rng.random() < settings.shapes:
        alpha = shape(rng, 96)
        return SHAPE, np.dstack([_photograph(pictures, rng, alpha.shape[1], alpha.shape[0]), alpha])
    number = int(rng.integers(len(pictures.cutouts)))
    thing = pictures.cutout(number)
    if rng.random() < 0.5:
        thing = np.ascontiguousarray(thing[:, ::-1])
    if rng.random() < settings.blended:
        other = _photograph(pictures, rng, thing.shape[1], thing.shape[0])
        share = rng.uniform(0.3, 0.8)
        colour = cv2.addWeighted(np.ascontiguousarray(thing[..., :3]), 1 - share, other, share, 0)
        thing = np.dstack([np.asarray(colour, np.uint8), thing[..., 3]])
    return number, thing


def _label(pictures: PictureSet, number: int) -> str:
    return "shape" if number == SHAPE else pictures.cutouts[number].label


def _look_alike(pictures: PictureSet, rng: np.random.Generator, number: int, thing: Picture4) -> tuple[int, Picture4]:
    """Another cut-out of the same class, or the same one in other colours."""
    same = [i for i in pictures.by_label.get(_label(pictures, number), []) if i != number]
    if same and rng.random() < 0.6:
        other = same[int(rng.integers(len(same)))]
        return other, pictures.cutout(other)
    return number, recoloured(thing, rng)


def recoloured(thing: Picture4, rng: np.random.Generator) -> Picture4:
    """A cut-out in other colours: its hues turned, then tinted."""
    hsv = cv2.cvtColor(np.ascontiguousarray(thing[..., :3]), cv2.COLOR_BGR2HSV)
    levels, turn = np.arange(256), int(rng.integers(25, 155))
    tables = np.stack([(levels + turn) % 180, levels, levels], -1).astype(np.uint8)
    colour = cv2.cvtColor(cv2.LUT(hsv, tables[None]), cv2.COLOR_HSV2BGR)
    # a turn of the hue does nothing to what is grey: tint it as well
    colour = cv2.transform(colour, np.diag(rng.permutation([0.45, 0.8, 1.25])))
    return np.dstack([np.asarray(colour, np.uint8), thing[..., 3]])


def _photograph(pictures: PictureSet, rng: np.random.Generator, width: int, height: int) -> NDArray[np.uint8]:
    """A random part (at least half) of a random picture, scaled to this size, mirrored half of the times."""
    image = pictures.image(pictures.pictures[rng.integers(len(pictures.pictures))])
    fit = min(image.shape[1] / width, image.shape[0] / height) * rng.uniform(0.5, 1.0)
    w, h = max(2, int(width * fit)), max(2, int(height * fit))
    x, y = rng.integers(0, image.shape[1] - w + 1), rng.integers(0, image.shape[0] - h + 1)
    part = image[y : y + h, x : x + w]
    if rng.random() < 0.5:
        part = part[:, ::-1]
    how = cv2.INTER_AREA if fit > 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(np.ascontiguousarray(part), (width, height), interpolation=how), np.uint8)


def _directions(rng: np.random.Generator, number: int) -> NDArray[np.float64]:
    angles = rng.uniform(0, 2 * np.pi, number)
    return np.stack([np.cos(angles), np.sin(angles)], 1)


def _walk(rng: np.random.Generator, ends: NDArray[np.float64], wobble: NDArray[np.float64]) -> Spline:
    """From (2, D) first to last values, with a random detour of ``wobble`` (D,)."""
    along = np.linspace(0, 1, KNOTS)[:, None]
    return Spline(ends[0] + along * (ends[1] - ends[0]) + wobble * rng.uniform(-1, 1, (KNOTS, ends.shape[1])))


def moving_layer(
    thing: Picture4,
    label: str,
    size: float,
    places: NDArray[np.float64],
    rng: np.random.Generator,
    s: SceneSettings,
    calm: float,
) -> Layer:
    """An object scaled to ``size`` that goes from the first of (2, 2) places to the second."""
    area = max(cv2.countNonZero(cv2.threshold(thing[..., 3], 127, 255, cv2.THRESH_BINARY)[1]), 1)
    factor = size / np.sqrt(area)
    # thin things would become enormous, and a texture needs some pixels in both directions
    width, height = (int(np.clip(round(n * factor), 4, 4 * size)) for n in (thing.shape[1], thing.shape[0]))
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    texture = np.asarray(cv2.resize(premultiplied(thing), (width, height), interpolation=how), np.uint8)
    turn = s.rotation * (3 if rng.random() < 1 / 6 else 1)
    depth = s.perspective / np.array([width, height])
    limits = calm * np.array([s.log_scale, 0.15, turn, 0.15, *depth])
    ends = np.hstack([places, rng.uniform(-1, 1, (2, 6)) * limits])
    wobble = np.array([0.1 * size * calm, 0.1 * size * calm, *(0.1 * limits)])
    middle = np.array([width - 1, height - 1]) / 2
    deformation = _deformation(rng, width, height, s) if rng.random() < s.deformed * calm else None
    return Layer(texture, Motion(middle, _walk(rng, ends, wobble)), deformation, label)


def _deformation(rng: np.random.Generator, width: int, height: int, s: SceneSettings) -> Deformation:
    """Two elastic waves and perhaps a joint, as strong as is safe from folding."""
    size, waves = float(max(width, height)), 2
    vectors = _directions(rng, waves) * 2 * np.pi / (size * rng.uniform(0.8, 2.0, (waves, 1)))
    slopes = rng.uniform(0.03, 0.16, (waves, 1))
    moves = _directions(rng, waves) * slopes / np.linalg.norm(vectors, axis=1, keepdims=True)
    table = np.hstack([vectors, moves, rng.uniform(0, 2 * np.pi, (waves, 1))])
    joint = np.array([width, height]) * rng.uniform(0.3, 0.7, 2)
    reach, zone = 0.5 * float(np.hypot(width, height)) + 0.3 * size, 0.25 * size
    angle = 0.0
    if rng.random() < s.bent:
        angle = 0.5 / (1.224 + reach / (4 * zone))
    ends = np.hstack([rng.uniform(-1, 1, (2, waves)), rng.choice([-1, 1]) * np.array([[-angle], [angle]])])
    knots = ends[0] + np.linspace(0, 1, KNOTS)[:, None] * (ends[1] - ends[0])
    return Deformation(table, joint, _directions(rng, 1)[0], zone, reach, Spline(knots))


def _camera(rng: np.random.Generator, s: SceneSettings, calm: float) -> Motion:
    middle = np.array([s.width - 1, s.height - 1]) / 2
    shift = s.camera * np.array([s.width, s.height])
    tilt = 0.5 * s.camera / np.array([s.width, s.height])
    limits = calm * np.array([*shift, 1.5 * s.camera, 0, s.camera, 0, *tilt])
    ends = rng.uniform(-1, 1, (2, 8)) * limits
    ends[:, :2] += middle
    return Motion(middle, _walk(rng, ends, 0.1 * limits))
