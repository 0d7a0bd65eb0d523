"""Makes demo.gif of what ``make demo`` has left in ``out/``: ``.venv/bin/python docs/images/demo.py``."""

from pathlib import Path

import av
import cv2
from PIL import Image

HERE = Path(__file__).parent
WIDTH, EVERY, COLOURS = 400, 4, 96  # px, frames of the video per picture, of the palette
PARTS = ((124, 146), (212, 244), (284, 366))  # frames in which a target is followed

with av.open(str(HERE.parents[1] / "out" / "demo.mp4")) as video:
    frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
pictures = []
for first, last in PARTS:
    for frame in frames[first:last:EVERY]:
        size = (WIDTH, WIDTH * frame.shape[0] // frame.shape[1])
        small = Image.fromarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA))
        pictures.append(small.quantize(COLOURS, dither=Image.Dither.NONE))
pictures[0].save(HERE / "demo.gif", save_all=True, append_images=pictures[1:], duration=160, loop=0, optimize=True)
print(f"{len(pictures)} pictures, {(HERE / 'demo.gif').stat().st_size / 1e6:.2f} MB")
