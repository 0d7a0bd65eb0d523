from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deep_tracking_ros.errors import DataError
from deep_tracking_ros.ros import bags, clouds, interfaces, messages
from deep_tracking_ros.types import Cloud

NUMBERS = {kind: number for number, kind in clouds.DATATYPES.items()}
POINTS = np.array([[1, 2, 3], [-4, 5, 6], [7, -8, 9], [10, 11, -12], [0, 1, 2], [3, 4, 5]], np.float32)
STRENGTH = np.arange(6) * 10


def message(kinds=None, order="xyz", big_endian=False, rows=1, gap=0, padding=0, points=POINTS):
    """A cloud of any layout: type of each field, order, bytes between fields and after each row."""
    kinds = {"x": "f4", "y": "f4", "z": "f4", **(kinds or {})}
    names = [*order, *(name for name in kinds if name not in "xyz")]
    offsets, at = [], gap
    for name in names:
        offsets.append(at)
        at += np.dtype(kinds[name]).itemsize + gap
    sign = ">" if big_endian else "<"
    dtype = np.dtype({"names": names, "formats": [sign + kinds[n] for n in names], "offsets": offsets, "itemsize": at})
    table = np.zeros(len(points), dtype)
    for axis, name in enumerate("xyz"):
        table[name] = points[:, axis]
    for name in names:
        if name not in "xyz":
            table[name] = STRENGTH[: len(points)]
    columns = len(points) // rows
    raw = np.frombuffer(table.tobytes(), np.uint8).reshape(rows, columns * at)
    raw = np.pad(raw, ((0, 0), (0, padding)), constant_values=255)
    fields = [
        SimpleNamespace(name=n, offset=o, datatype=NUMBERS[kinds[n]], count=1)
        for n, o in zip(names, offsets, strict=True)
    ]
    return SimpleNamespace(
        header=SimpleNamespace(stamp=SimpleNamespace(sec=5, nanosec=6), frame_id="lidar"),
        height=rows,
        width=columns,
        fields=fields,
        is_bigendian=big_endian,
        point_step=at,
        row_step=raw.shape[1],
        data=raw.tobytes(),
    )


@given(
    kinds=st.dictionaries(st.sampled_from("xyz"), st.sampled_from(["f4", "f8", "i2", "i4", "i1"])),
    strength=st.none() | st.tuples(st.sampled_from(clouds.INTENSITY), st.sampled_from(sorted(NUMBERS))),
    order=st.permutations("xyz"),
    big_endian=st.booleans(),
    rows=st.sampled_from([1, 2, 3]),
    gap=st.integers(0, 5),
    padding=st.integers(0, 9),
)
def test_any_layout(kinds, strength, order, big_endian, rows, gap, padding):
    kinds = {**kinds, **(dict([strength]) if strength else {}), "ring": "u2"}
    cloud = clouds.read_cloud(message(kinds, "".join(order), big_endian, rows, gap, padding))
    assert (cloud.stamp, cloud.frame_id) == (5_000_000_006, "lidar")
    assert cloud.points.dtype == np.float32
    np.testing.assert_array_equal(cloud.points, POINTS)
    if strength:
        np.testing.assert_array_equal(cloud.intensity, STRENGTH)
    else:
        assert cloud.intensity is None


def test_points_that_are_not_finite_are_left_out_with_their_intensity():
    points = POINTS.copy()
    points[1, 2], points[3, 0] = np.nan, np.inf
    cloud = clouds.read_cloud(message({"intensity": "u1"}, points=points))
    np.testing.assert_array_equal(cloud.points, POINTS[[0, 2, 4, 5]])
    np.testing.assert_array_equal(cloud.intensity, STRENGTH[[0, 2, 4, 5]])


def test_no_points_and_only_bad_points():
    assert clouds.read_cloud(message(points=POINTS[:0])).points.shape == (0, 3)
    assert clouds.read_cloud(message(points=POINTS * np.float32(np.nan))).points.shape == (0, 3)


def changed(**values):
    made = message()
    vars(made).update(values)
    return made


def field(**values):
    made = message()
    vars(made.fields[2]).update(values)
    return made


@pytest.mark.parametrize(
    ("wrong", "answer"),
    [
        (field(name="range"), "has no field z; its fields are x, y, range"),
        (changed(fields=[]), "has no field x, y, z; its fields are none"),
        (field(count=3), "field z has datatype 7 and 3 elements"),
        (field(datatype=9), "field z has datatype 9"),
        (field(offset=10), "field z at byte 10 does not fit into points of 12 bytes"),
        (changed(data=b"x" * 71), "has 71 bytes of data, not 72"),
        (changed(height=2, width=3, row_step=35), "rows of 35 bytes, 3 points of 12 bytes need 36"),
    ],
)
def test_what_does_not_fit(wrong, answer):
    with pytest.raises(DataError, match=answer):
        clouds.read_cloud(wrong)


def test_a_missing_row_step_of_a_single_row():
    np.testing.assert_array_equal(clouds.read_cloud(changed(row_step=0)).points, POINTS)


def rclpy_maker():
    pytest.importorskip("rclpy", reason="ROS 2 is not on this machine: . scripts/env.sh")
    return messages.new_message


@pytest.mark.parametrize("maker", [lambda: interfaces.make, pytest.param(rclpy_maker, marks=pytest.mark.ros)])
@pytest.mark.parametrize("intensity", [None, STRENGTH.astype(np.float32)])
def test_a_cloud_comes_back_from_its_message_and_from_its_bytes(maker, intensity):
    item = Cloud(123_456_789_012, "lidar", POINTS, intensity)
    made = messages.to_message(item, maker())
    data = interfaces.serialize(made, bags.CLOUD)
    for back in (messages.from_message(Cloud, made), clouds.read_cloud(bags.parse_cloud(data))):
        assert (back.stamp, back.frame_id) == (item.stamp, "lidar")
        np.testing.assert_array_equal(back.points, POINTS)
        assert (back.intensity is None) == (intensity is None)
    np.testing.assert_array_equal(back.intensity, intensity)
    for end in (10, 30, 60, len(data) - 5):
        with pytest.raises(DataError, match=r"cut off|follow"):
            bags.parse_cloud(data[:end])
