from array import array
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from deep_tracking_ros.errors import InvalidImageError
from deep_tracking_ros.ros import images

HEIGHT, WIDTH = 6, 8
BGR = cv2.resize(
    np.random.default_rng(0).integers(0, 255, (3, 4, 3), np.uint8), (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR
)


def message(encoding, rows, width=WIDTH, height=HEIGHT, padding=0, big_endian=False, container=bytes):
    """An image message from a (rows, bytes) array, with so many bytes of padding after each row."""
    rows = np.ascontiguousarray(rows).reshape(rows.shape[0], -1).view(np.uint8)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    header = SimpleNamespace(stamp=SimpleNamespace(sec=3, nanosec=7), frame_id="camera")
    data = container(padded.tobytes()) if container is not np.ndarray else padded.reshape(-1)
    return SimpleNamespace(
        header=header,
        encoding=encoding,
        width=width,
        height=height,
        step=padded.shape[1],
        is_bigendian=int(big_endian),
        data=data,
    )


def octets(data):
    return array("B", data)


def mosaic(pattern):
    """What a camera with this Bayer pattern sees of an image in one colour."""
    colour = {"b": 40, "g": 120, "r": 220}
    tile = np.array([[colour[pattern[0]], colour[pattern[1]]], [colour[pattern[2]], colour[pattern[3]]]], np.uint8)
    return np.tile(tile, (HEIGHT // 2, WIDTH // 2))


@pytest.mark.parametrize("container", [bytes, bytearray, memoryview, octets, np.ndarray])
@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize(
    ("encoding", "rows"),
    [
        ("bgr8", BGR),
        ("8UC3", BGR),
        ("rgb8", BGR[:, :, ::-1]),
        ("bgra8", np.dstack([BGR, BGR[:, :, 0]])),
        ("8UC4", np.dstack([BGR, BGR[:, :, 0]])),
        ("rgba8", np.dstack([BGR[:, :, ::-1], BGR[:, :, 0]])),
    ],
)
def test_colour_layouts_exactly(encoding, rows, padding, container):
    result = images.to_bgr(message(encoding, rows, padding=padding, container=container))
    assert result.dtype == np.uint8
    assert (result == BGR).all()


@pytest.mark.parametrize("encoding", ["mono8", "8UC1"])
def test_grey(encoding):
    grey = BGR[:, :, 1]
    assert (images.to_bgr(message(encoding, grey, padding=3)) == grey[:, :, None]).all()


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_patterns_are_those_of_ros(pattern):
    result = images.to_bgr(message(f"bayer_{pattern}8", mosaic(pattern), padding=2))
    assert (result[2:-2, 2:-2] == (40, 120, 220)).all()


def yuv(bgr):
    """(Y, U, V) of a colour as BT.601 video range, which is what OpenCV and cameras mean."""
    b, g, r = (float(v) for v in bgr)
    y = 16 + 0.257 * r + 0.504 * g + 0.098 * b
    return round(y), round(128 - 0.148 * r - 0.291 * g + 0.439 * b), round(128 + 0.439 * r - 0.368 * g - 0.071 * b)


@pytest.mark.parametrize("encoding", ["yuv422", "uyvy", "yuv422_yuy2", "yuyv", "nv12", "nv21"])
@pytest.mark.parametrize("padding", [0, 6])
def test_yuv_layouts(encoding, padding):
    colour = (40, 120, 220)
    y, u, v = yuv(colour)
    pair = {"yuv422": (u, y, v, y), "uyvy": (u, y, v, y), "yuv422_yuy2": (y, u, y, v), "yuyv": (y, u, y, v)}
    if encoding in pair:
        rows = np.tile(np.uint8(pair[encoding]), (HEIGHT, WIDTH // 2))
    else:
        chroma = np.tile(np.uint8((u, v) if encoding == "nv12" else (v, u)), (HEIGHT // 2, WIDTH // 2))
        rows = np.vstack([np.full((HEIGHT, WIDTH), y, np.uint8), chroma])
    result = images.to_bgr(message(encoding, rows, padding=padding))
    assert result.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(result.astype(int) - colour).max() <= 3


@pytest.mark.parametrize("encoding", ["16UC1", "mono16"])
@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("big_endian", [False, True])
def test_sixteen_bits_are_stretched_between_percentiles(encoding, padding, big_endian):
    values = np.linspace(800, 2800, 64 * 64).reshape(64, 64)
    values[10:20, 10:20] = 0  # unknown depth must not set the scale
    rows = values.astype(">u2" if big_endian else "<u2")
    result = images.to_bgr(message(encoding, rows, 64, 64, padding, big_endian))
    low, high = np.percentile(values[::8, ::8][values[::8, ::8] > 0], (1, 99))
    expected = np.clip((values.astype(int) - low) * 255 / (high - low), 0, 255)
    assert np.abs(result[:, :, 0] - expected).max() <= 1
    assert (result[10:20, 10:20] == 0).all()


def test_sixteen_bits_without_any_contrast():
    assert images.to_bgr(message("16UC1", np.zeros((8, 8), "<u2"), 8, 8)).max() == 0
    assert images.to_bgr(message("16UC1", np.full((8, 8), 9, "<u2"), 8, 8)).shape == (8, 8, 3)


def test_bgr_is_not_copied():
    source = message("bgr8", BGR, container=octets)
    result = images.to_bgr(source)
    source.data[0] ^= 255
    assert result[0, 0, 0] == source.data[0]
    assert not np.shares_memory(images.to_bgr(message("bgr8", BGR, padding=1)), BGR)


def test_padding_of_the_last_row_may_be_left_out():
    cut = message("rgb8", BGR[:, :, ::-1], padding=8)
    cut.data = cut.data[:-8]
    assert (images.to_bgr(cut) == BGR).all()
    cut.data = cut.data[:-1]
    with pytest.raises(InvalidImageError, match="has 183 bytes of data, not 184"):
        images.to_bgr(cut)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"encoding": "yuv999"}, "'yuv999' is not known; known are 16UC1, 8UC1.*bayer_rggb8"),
        ({"encoding": ""}, "'' is not known"),
        ({"width": 0}, "0x6 has no pixels"),
        ({"height": 0}, "8x0 has no pixels"),
        ({"step": 23}, "step of 23 bytes, a row needs at least 24"),
        ({"step": 0}, "step of 0 bytes"),
        ({"step": 2**32 - 1}, "not 21474836499"),
        ({"width": 2**32 - 1, "step": 2**32 - 1}, "needs at least 12884901885"),
        ({"data": b""}, "0 bytes of data, not 144"),
        ({"encoding": "yuyv", "width": 7}, "needs an even width"),
        ({"encoding": "nv12", "height": 5}, "needs even sizes"),
    ],
)
def test_malformed_images_are_refused_with_the_values(change, words):
    broken = message("bgr8", BGR)
    for field, value in change.items():
        setattr(broken, field, value)
    with pytest.raises(InvalidImageError, match=words):
        images.to_bgr(broken)


def compressed(data, format_="jpeg"):
    header = SimpleNamespace(stamp=SimpleNamespace(sec=3, nanosec=7), frame_id="camera")
    return SimpleNamespace(header=header, format=format_, data=data)


def encode(image, suffix, *options):
    return cv2.imencode(suffix, image, list(options))[1].tobytes()


SMOOTH = cv2.resize(np.random.default_rng(1).integers(0, 255, (4, 4, 3), np.uint8), (64, 48))


@pytest.mark.parametrize("container", [bytes, octets, lambda data: np.frombuffer(data, np.uint8)])
@pytest.mark.parametrize(
    ("suffix", "format_", "tolerance"),
    [
        (".jpg", "jpeg", 3),
        (".jpg", "bgr8; jpeg compressed bgr8", 3),
        (".jpg", "rgb8; jpeg compressed bgr8", 3),
        (".png", "png", 0),
        (".png", "bgr8; png compressed bgr8", 0),
        (".png", "", 0),
    ],
)
def test_compressed(suffix, format_, tolerance, container):
    result = images.compressed_to_bgr(compressed(container(encode(SMOOTH, suffix)), format_))
    assert np.abs(result.astype(int) - SMOOTH).mean() <= tolerance


def test_compressed_grey_swapped_and_deep():
    grey = SMOOTH[:, :, 0]
    result = images.compressed_to_bgr(compressed(encode(grey, ".png"), "mono8; png compressed mono8"))
    assert (result == grey[:, :, None]).all()
    swapped = compressed(encode(SMOOTH[:, :, ::-1], ".png"), "rgb8; png compressed rgb8")
    assert (images.compressed_to_bgr(swapped) == SMOOTH).all()
    deep = np.linspace(500, 900, 64 * 64).astype(np.uint16).reshape(64, 64)
    raw = images.to_bgr(message("16UC1", deep, 64, 64))
    assert (images.compressed_to_bgr(compressed(encode(deep, ".png"), "16UC1; png compressed ")) == raw).all()


def test_orientation_in_exif_is_not_applied():
    exif = (
        b"\xff\xe1\x00\x22Exif\x00\x00II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00"
        + bytes(4)
    )
    data = encode(SMOOTH, ".jpg")
    turned = data[:2] + exif + data[2:]
    assert cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR).shape == (64, 48, 3)  # it is understood
    assert images.compressed_to_bgr(compressed(turned)).shape == (48, 64, 3)


@pytest.mark.parametrize(
    ("data", "format_", "words"),
    [
        (b"", "jpeg", "with 0 bytes cannot be decoded"),
        (b"no image at all", "jpeg", "no image or damaged"),
        (encode(SMOOTH, ".jpg")[:400], "jpeg", "with 400 bytes cannot be decoded: it is cut off"),
        (encode(SMOOTH, ".png")[:60], "png", "cannot be decoded"),
        (encode(SMOOTH, ".png")[:-2000], "png", "cannot be decoded"),
        (encode(SMOOTH, ".png"), "16UC1; compressedDepth png", "is compressed depth"),
    ],
)
def test_damaged_compressed_images_are_refused(data, format_, words):
    with pytest.raises(InvalidImageError, match=words):
        images.compressed_to_bgr(compressed(data, format_))


def test_a_frame_is_decoded_when_it_is_looked_at():
    broken = message("unheard_of", BGR)
    frame = images.frame(broken)
    assert (frame.stamp, frame.frame_id, frame.nbytes) == (3_000_000_007, "camera", BGR.nbytes)
    with pytest.raises(InvalidImageError):
        _ = frame.image
    assert (images.frame(message("bgr8", BGR)).image == BGR).all()
    assert images.frame(compressed(encode(SMOOTH, ".png"))).image.shape == SMOOTH.shape


@pytest.mark.parametrize("image", [BGR, BGR[:, ::2], BGR[:, :, 0]])
def test_an_image_becomes_a_message_and_comes_back(image):
    target = images.fill_image(SimpleNamespace(header=None), image)
    assert isinstance(target.data, array)
    assert (target.step, target.encoding) == (image[0].size, "bgr8" if image.ndim == 3 else "mono8")
    assert (images.to_bgr(target) == np.atleast_3d(image)).all()


@pytest.mark.ros
def test_messages_of_rclpy_and_of_rosbags():
    from deep_tracking_ros.ros import interfaces

    real = pytest.importorskip("sensor_msgs.msg").Image()
    images.fill_image(real, BGR)
    assert (images.to_bgr(real) == BGR).all()
    assert (images.to_bgr(interfaces.make("sensor_msgs/msg/Image", real)) == BGR).all()
