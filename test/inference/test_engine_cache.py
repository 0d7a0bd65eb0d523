import json
import multiprocessing
import os
import signal
import time

import pytest

from deep_tracking_ros.inference.cache import EngineCache, Key, default_folder

KEY = Key("engine", "siamfc/head", "d" * 64, "x float32 [-1]", "fp16", "tensorrt 10.13", "NVIDIA Test, 8.9")


class Builds:
    """A build that counts."""

    def __init__(self, payload=b"engine" * 100):
        self.payload, self.count = payload, 0

    def __call__(self):
        self.count += 1
        return self.payload


def files(cache):
    return sorted(path.name for path in cache.folder.iterdir())


def test_an_entry_is_built_once(cache):
    builds, log = Builds(), []
    assert cache.read(KEY) is None
    assert cache.fetch(KEY, builds, log.append) == cache.fetch(KEY, builds, log.append) == builds.payload
    assert cache.read(KEY) == builds.payload
    assert (builds.count, log) == (1, [])
    assert files(cache) == [KEY.filename, KEY.filename + ".json", KEY.filename + ".lock"]
    assert cache.folder.stat().st_mode & 0o777 == 0o700
    assert (cache.folder / KEY.filename).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("field", ["kind", "network", "digest", "tensors", "precision", "library", "device"])
def test_every_part_of_the_key_counts(cache, field):
    cache.fetch(KEY, Builds())
    other = Key(**(KEY.values | {field: "onnx" if field == "kind" else "other"}))
    builds = Builds(b"other")
    assert cache.fetch(other, builds) == b"other"
    assert builds.count == 1
    assert cache.read(KEY) == Builds().payload


def flip_a_byte(payload, sidecar):
    content = bytearray(payload.read_bytes())
    content[300] ^= 1
    payload.write_bytes(content)


def edit(change):
    def fault(payload, sidecar):
        values = json.loads(sidecar.read_text())
        change(values)
        sidecar.write_text(json.dumps(values))

    return fault


def link(payload, sidecar):
    target = payload.rename(payload.with_name("elsewhere"))
    payload.symlink_to(target)


def pipe(payload, sidecar):
    payload.unlink()
    os.mkfifo(payload)


FAULTS = {
    "flipped byte": (flip_a_byte, "checksum"),
    "truncated": (lambda payload, sidecar: payload.write_bytes(payload.read_bytes()[:-1]), "checksum"),
    "empty": (lambda payload, sidecar: payload.write_bytes(b""), "checksum"),
    "longer": (lambda payload, sidecar: payload.write_bytes(payload.read_bytes() + b"x"), "checksum"),
    "no payload": (lambda payload, sidecar: payload.unlink(), "cannot be read"),
    "no sidecar": (lambda payload, sidecar: sidecar.unlink(), "cannot be read"),
    "sidecar is not JSON": (lambda payload, sidecar: sidecar.write_text("{"), "cannot be read"),
    "sidecar is not text": (lambda payload, sidecar: sidecar.write_bytes(b"\xff\xfe"), "cannot be read"),
    "sidecar is a list": (lambda payload, sidecar: sidecar.write_text("[]"), "describes something else"),
    "checksum edited": (edit(lambda values: values.update(sha256="0" * 64)), "checksum"),
    "checksum removed": (edit(lambda values: values.pop("sha256")), "checksum"),
    "made for another GPU": (edit(lambda values: values["key"].update(device="x")), "describes something else"),
    "made from other weights": (edit(lambda values: values["key"].update(digest="e")), "describes something else"),
    "key removed": (edit(lambda values: values.pop("key")), "describes something else"),
    "payload is a link": (link, "cannot be read"),
    "payload is a pipe": (pipe, "checksum"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faulty_entries_are_built_again(cache, fault):
    damage, why = FAULTS[fault]
    cache.fetch(KEY, Builds(b"x" * 600))
    payload = cache.folder / KEY.filename
    damage(payload, payload.with_name(payload.name + ".json"))
    assert cache.read(KEY) is None
    assert all(entry.fault for entry in cache.entries())
    log, builds = [], Builds(b"y" * 600)
    assert cache.fetch(KEY, builds, log.append) == b"y" * 600
    assert builds.count == 1
    assert len(log) == 1
    assert "is built again" in log[0]
    assert why in log[0]
    assert cache.read(KEY) == b"y" * 600
    assert [entry.fault for entry in cache.entries()] == [""]


def test_a_file_of_another_user_is_not_trusted(cache, monkeypatch):
    cache.fetch(KEY, Builds())
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    assert cache.read(KEY) is None
    assert "belongs to user" in cache.entries()[0].fault


def test_a_lock_file_left_behind_blocks_nobody(cache):
    cache.folder.mkdir()
    (cache.folder / (KEY.filename + ".lock")).write_text("12345")
    (cache.folder / (KEY.filename + ".abc_12.tmp")).write_text("half an engine")
    assert cache.fetch(KEY, Builds()) == Builds().payload
    assert files(cache) == [KEY.filename, KEY.filename + ".json", KEY.filename + ".lock"]


def _hold(folder, started):
    def build():
        started.set()
        time.sleep(60)
        return b"never"

    EngineCache(folder).fetch(KEY, build)


def test_a_builder_that_is_killed_leaves_the_entry_free(cache):
    context = multiprocessing.get_context("fork")
    started = context.Event()
    process = context.Process(target=_hold, args=(cache.folder, started))
    process.start()
    assert started.wait(20)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert cache.fetch(KEY, Builds()) == Builds().payload


def _build_slowly(folder, counter, results, barrier):
    def build():
        with counter.get_lock():
            counter.value += 1
        time.sleep(0.3)
        return b"z" * 1000

    barrier.wait()
    results.put(EngineCache(folder).fetch(KEY, build))


def test_processes_that_want_the_same_entry_build_it_once(cache):
    context = multiprocessing.get_context("fork")
    counter, results, barrier = context.Value("i", 0), context.Queue(), context.Barrier(3)
    arguments = (cache.folder, counter, results, barrier)
    processes = [context.Process(target=_build_slowly, args=arguments) for _ in range(3)]
    for process in processes:
        process.start()
    assert [results.get(timeout=20) for _ in processes] == 3 * [b"z" * 1000]
    for process in processes:
        process.join()
    assert counter.value == 1


def test_a_failing_build_leaves_nothing_behind(cache):
    def fail():
        raise OSError("the build itself")

    with pytest.raises(OSError, match="the build itself"):
        cache.fetch(KEY, fail)
    assert files(cache) == [KEY.filename + ".lock"]


def test_a_folder_that_cannot_be_written_costs_only_time(tmp_path):
    (tmp_path / "file").write_text("")
    log, builds = [], Builds()
    assert EngineCache(tmp_path / "file" / "cache").fetch(KEY, builds, log.append) == builds.payload
    assert builds.count == 1
    assert "set DTR_CACHE" in log[0]


def test_a_full_disk_costs_only_time(cache, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("deep_tracking_ros.inference.cache.tempfile.mkstemp", full)
    log, builds = [], Builds()
    assert cache.fetch(KEY, builds, log.append) == builds.payload
    assert builds.count == 1
    assert "No space left" in log[0]


def test_clear_removes_only_what_it_knows(cache):
    cache.fetch(KEY, Builds())
    cache.fetch(Key(**(KEY.values | {"kind": "onnx"})), Builds())
    mine = cache.folder / "notes-of-the-user.onnx"
    mine.write_text("mine")
    (cache.folder / "folder").mkdir()
    assert len(cache.entries()) == 2
    assert len(cache.clear()) == 6
    assert files(cache) == ["folder", "notes-of-the-user.onnx"]
    assert cache.entries() == []


def test_clear_leaves_entries_that_are_being_built(cache):
    context = multiprocessing.get_context("fork")
    started = context.Event()
    process = context.Process(target=_hold, args=(cache.folder, started))
    process.start()
    try:
        assert started.wait(20)
        assert cache.clear() == []
    finally:
        process.kill()
        process.join()
    assert [path.suffix for path in cache.clear()] == [".lock"]


def test_the_folder_is_where_the_user_wants_it(monkeypatch, tmp_path):
    monkeypatch.setenv("DTR_CACHE", str(tmp_path))
    assert default_folder() == tmp_path
    monkeypatch.delenv("DTR_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "deep_tracking_ros"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder() == tmp_path / ".cache" / "deep_tracking_ros"
