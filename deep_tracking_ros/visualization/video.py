"""Video files of drawn results."""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deep_tracking_ros.errors import DataError

TICKS = 60_000
"""Units of time in a second of the video: 24, 25, 29.97, 30, 60 pictures per second are whole numbers of them, and
MPEG-4 allows no more than 65535."""


class VideoWriter:
    """Writes an mp4 whose pictures are shown at the times of their stamps.

    H.264 where PyAV has it, else MPEG-4; yuv420p, which every player shows. All pictures get the size of the first,
    made even by repeating the last row or column. The file appears, whole, when the writer is closed; after an
    exception in a ``with`` block there is none.
    """

    def __init__(self, path: str | Path, fps: float = 30.0) -> None:
        """``fps`` tells players how many pictures per second to expect, and spaces those whose stamps step back.

        Raises `DataError` where the folder cannot be written to, or where ``path`` is no file.
        """
        self.path = Path(path)
        self.fps = fps
        self._partial = self.path.with_name(f".{self.path.name}.partial")
        self._container: Any = None
        self._stream: Any = None
        self._offset = 0  # ticks, added to the stamps
        self._last = -1  # ticks of the newest picture
        if self.path.exists() and not self.path.is_file():
            raise DataError(f"the video {self.path} cannot be written: it is a folder or a device")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._partial.touch()
        except OSError as error:
            raise DataError(f"the video {self.path} cannot be written: {error}") from error

    def write(self, image: NDArray[np.uint8], stamp: int) -> None:
        """Append a picture (H, W, 3) uint8 BGR that is shown from ``stamp`` (ns) on.

        Where stamps step back or pause for more than 5 s, as when a bag loops, the video goes on without a pause.
        """
        import av

        if self._container is None:
            self._open(image)
        height, width = self._stream.height, self._stream.width
        ticks = round(stamp * TICKS / 1_000_000_000)
        if self._last < 0:
            self._offset = -ticks
        elif not 0 < ticks + self._offset - self._last <= 5 * TICKS:
            self._offset = self._last + round(TICKS / self.fps) - ticks
        self._last = ticks + self._offset
        picture = av.VideoFrame.from_ndarray(_fit(image, width, height), format="bgr24")
        picture.pts, picture.time_base = self._last, Fraction(1, TICKS)
        self._container.mux(self._stream.encode(picture))

    def close(self) -> None:
        """Finish the file; without any picture there is none."""
        if self._container is not None:
            self._container.mux(self._stream.encode(None))
            self._container.close()
            self._container = None
            self._partial.replace(self.path)
        self._partial.unlink(missing_ok=True)

    def discard(self) -> None:
        """Give up: the file is not made, and one that was there before stays."""
        if self._container is not None:
            with suppress(Exception):  # an encoder that failed may fail again
                self._container.close()
            self._container = None
        self._partial.unlink(missing_ok=True)

    def _open(self, image: NDArray[np.uint8]) -> None:
        import av

        codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
        self._container = av.open(str(self._partial), "w", format="mp4", options={"movflags": "faststart"})
        self._stream = self._container.add_stream(codec, rate=Fraction(self.fps).limit_denominator(1001))
        self._stream.height, self._stream.width = (side + side % 2 for side in image.shape[:2])
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, TICKS)
        if codec == "libx264":
            self._stream.options = {"crf": "20", "preset": "veryfast"}
        else:
            self._stream.bit_rate = 8_000_000

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()


def _fit(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """The picture in the size of the video: one more row or column repeated, any other size resized."""
    import cv2

    missing_rows, missing_columns = height - image.shape[0], width - image.shape[1]
    if missing_rows in (0, 1) and missing_columns in (0, 1):
        return np.pad(image, ((0, missing_rows), (0, missing_columns), (0, 0)), mode="edge")
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
