import numpy as np
import pytest

from deep_tracking_ros.errors import DataError
from deep_tracking_ros.evaluation.sweeps import read_sweeps

POINTS = np.array([[1, 2, 3], [-4, 5, 6]], np.float32)


def test_a_packed_file(tmp_path):
    file = tmp_path / "drive.npz"
    packed = {f"xyz_{k}": (POINTS * 500 + k).astype(np.int16) for k in (0, 1, 10, 2)}
    poses = np.tile(np.eye(4), (4, 1, 1))
    poses[:, 0, 3] = range(4)
    np.savez(file, scale=np.float32(0.002), stamps=np.array([1.0, 1.1, 1.2, 1.3]), poses_icp=poses,
             intensity_0=np.array([7, 8], np.uint8), **packed)  # fmt: skip
    sweeps = read_sweeps(file)
    assert [cloud.stamp for cloud, _ in sweeps] == [10**9, 11 * 10**8, 12 * 10**8, 13 * 10**8]
    assert [cloud.points[0, 0] for cloud, _ in sweeps] == pytest.approx([1.0, 1.002, 1.004, 1.02])  # 0, 1, 2, 10
    assert [pose[0, 3] for _, pose in sweeps] == [0, 1, 2, 3]
    assert sweeps[0][0].intensity.tolist() == [7, 8]
    assert sweeps[1][0].intensity is None


def test_folders_of_kitti_and_of_argoverse(tmp_path):
    table = np.column_stack([POINTS, [0.5, 0.25]]).astype(np.float32)
    kitti, argoverse = tmp_path / "velodyne", tmp_path / "log"
    kitti.mkdir()
    argoverse.mkdir()
    for name in ("000000", "000001"):
        table.tofile(kitti / f"{name}.bin")
    table.astype(np.float16).tofile(argoverse / "315966265259836000.f16.bin")
    (first, pose), (second, _) = read_sweeps(kitti)
    np.testing.assert_array_equal(first.points, POINTS)
    assert first.intensity.tolist() == [0.5, 0.25]
    assert (first.stamp, second.stamp, pose) == (0, 100_000_000, None)
    ((cloud, _),) = read_sweeps(argoverse)
    np.testing.assert_array_equal(cloud.points, POINTS)
    assert cloud.stamp == 315966265259836000
    assert len(read_sweeps(kitti / "000001.bin")) == 1


def test_what_is_no_sweep(tmp_path):
    (tmp_path / "cut.bin").write_bytes(b"x" * 40)
    np.savez(tmp_path / "other.npz", points=POINTS)
    (tmp_path / "broken.npz").write_bytes(b"PK")
    for name, answer in (
        ("none", "is no .npz file, .bin file or folder"),
        ("cut.bin", "cannot read sweeps from .*cut"),
        ("other.npz", "has no xyz_0, it has points"),
        ("broken.npz", "cannot read sweeps from .*broken"),
    ):
        with pytest.raises(DataError, match=answer):
            read_sweeps(tmp_path / name)


def test_real_sweeps(reference):
    sweeps = read_sweeps(reference("data/lidar") / "kitti00_000000_000005.npz")
    assert len(sweeps) == 6
    assert all(len(cloud.points) > 60_000 and np.abs(cloud.points).max() < 65 for cloud, _ in sweeps)
    assert np.linalg.norm(sweeps[5][1][:3, 3]) > 1
