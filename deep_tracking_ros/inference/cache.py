"""A folder of exported networks and built engines that is never trusted more than it deserves.

Each entry is a payload (``*.onnx``, ``*.engine``) and a JSON sidecar with everything that the payload depends on and
its SHA-256. An entry is used only when its sidecar says exactly what is asked for, the checksum fits and the file
belongs to this user; anything else is built again. Writers hold a lock per entry and replace files atomically, so
several processes may share the folder and build each entry once. The locks are kernel locks (flock): they end with
their process, and a lock file that is left behind blocks nobody.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Log = Callable[[str], None]
ENTRY = re.compile(r"[A-Za-z0-9_.-]+-[0-9a-f]{16}\.(onnx|engine)")
OURS = re.compile(ENTRY.pattern + r"(\.json|\.lock|\.[a-z0-9_]+\.tmp)?")


def default_folder() -> Path:
    """``$DTR_CACHE``, else ``deep_tracking_ros`` in the user's cache folder (``$XDG_CACHE_HOME`` or ``~/.cache``)."""
    if folder := os.environ.get("DTR_CACHE"):
        return Path(folder).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "deep_tracking_ros"


@dataclass(frozen=True)
class Key:
    """What an entry is made of; two entries are interchangeable only if all of it is equal."""

    kind: str  # 'onnx' or 'engine', also the suffix of the file
    network: str  # name, for people
    digest: str  # of architecture and weights
    tensors: str  # inputs and outputs with types, shapes and profiles
    precision: str  # 'fp32', 'fp16' or 'bf16'
    library: str  # that made it, with its version
    device: str = ""  # GPU name and compute capability; empty where any will do

    @property
    def values(self) -> dict[str, str]:
        return dict(self.__dict__)

    @property
    def filename(self) -> str:
        digest = hashlib.sha256(json.dumps(self.values, sort_keys=True).encode()).hexdigest()[:16]
        return f"{re.sub(r'[^A-Za-z0-9_.-]', '_', self.network)}-{digest}.{self.kind}"


@dataclass(frozen=True)
class Entry:
    """One entry as `EngineCache.entries` finds it."""

    path: Path
    key: Mapping[str, Any]  # as its sidecar says; empty where that cannot be read
    size: int  # bytes
    created: str
    fault: str  # why it would be built again, empty when it is sound


class EngineCache:
    """The cache in one folder, by default `default_folder`. The folder is made when the first entry is written."""

    def __init__(self, folder: Path | str | None = None) -> None:
        self.folder = Path(folder).expanduser() if folder else default_folder()

    def read(self, key: Key) -> bytes | None:
        """The payload of a sound entry, else nothing."""
        payload, _ = self._inspect(self.folder / key.filename, key)
        return payload

    def fetch(self, key: Key, build: Callable[[], bytes], log: Log | None = None) -> bytes:
        """The payload from the cache, or built and stored.

        While another process builds the same entry this waits for it. A cache that cannot be written costs only
        time: the payload is built for this process alone, and ``log`` says so.
        """
        log = log or (lambda text: None)
        path = self.folder / key.filename
        payload, _ = self._inspect(path, key)
        if payload is not None:
            return payload
        with ExitStack() as stack:
            try:
                self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                stack.enter_context(_locked(path, log))
            except OSError as error:
                log(f"the cache cannot be used ({error}): make {self.folder} writable, or set DTR_CACHE to a folder")
                return build()
            payload, fault = self._inspect(path, key)  # another process may have built it meanwhile
            if payload is not None:
                return payload
            if fault:
                log(f"cache entry {path} is built again: {fault}")
            payload = build()
            try:
                self._write(path, key, payload)
            except OSError as error:
                log(f"{path} cannot be written ({error}): it will be built again next time")
            return payload

    def entries(self) -> list[Entry]:
        """All entries, sound or not, by name."""
        paths = sorted(self.folder.glob("*")) if self.folder.is_dir() else []
        return [self._entry(path) for path in paths if ENTRY.fullmatch(path.name)]

    def clear(self) -> list[Path]:
        """Remove all entries that no process is working on, and only files of the cache. Returns what was removed."""
        removed: list[Path] = []
        files = [path for path in sorted(self.folder.glob("*")) if OURS.fullmatch(path.name)]
        for name in sorted({ENTRY.match(path.name)[0] for path in files}):  # type: ignore[index]  # OURS holds ENTRY
            path = self.folder / name
            with suppress(BlockingIOError), _locked(path, log=None):
                for part in (path, _sidecar(path), *_temporary(path), _lock_file(path)):
                    if part.is_file() or part.is_symlink():
                        part.unlink()
                        removed.append(part)
        return removed

    def _inspect(self, path: Path, key: Key) -> tuple[bytes | None, str]:
        """The payload, or nothing and what is wrong with the entry (an empty text where there is none)."""
        try:
            if not path.exists() and not _sidecar(path).exists():
                return None, ""
            sidecar = json.loads(_read_own(_sidecar(path)))
            if not isinstance(sidecar, dict) or sidecar.get("key") != key.values:
                return None, "its sidecar describes something else"
            payload = _read_own(path)
        except (OSError, ValueError) as error:
            return None, f"it cannot be read ({error})"
        if hashlib.sha256(payload).hexdigest() != sidecar.get("sha256"):
            return None, "its checksum is wrong"
        return payload, ""

    def _entry(self, path: Path) -> Entry:
        try:
            sidecar = json.loads(_read_own(_sidecar(path)))
            key = Key(**sidecar["key"])
            fault = self._inspect(path, key)[1] or ("" if key.filename == path.name else "it has another entry's name")
            return Entry(path, key.values, path.stat().st_size, str(sidecar["created"]), fault)
        except (OSError, ValueError, KeyError, TypeError) as error:
            return Entry(path, {}, path.lstat().st_size, "", f"its sidecar cannot be read ({error})")

    def _write(self, path: Path, key: Key, payload: bytes) -> None:
        sidecar = {
            "key": key.values,
            "sha256": hashlib.sha256(payload).hexdigest(),
            "size": len(payload),
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        for part in _temporary(path):  # left behind by a writer that was killed: the lock is ours
            part.unlink()
        _replace(path, payload, path)
        _replace(_sidecar(path), json.dumps(sidecar, indent=1, sort_keys=True).encode(), path)


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _lock_file(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def _temporary(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{path.name}.*.tmp"))


def _replace(path: Path, content: bytes, entry: Path) -> None:
    """Write a file so that a reader sees all of it or nothing."""
    handle, name = tempfile.mkstemp(prefix=f"{entry.name}.", suffix=".tmp", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _read_own(path: Path) -> bytes:
    """The content of a plain file of this user: an engine is code that runs, so nobody else's is opened."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if (owner := os.fstat(file.fileno()).st_uid) != os.geteuid():
            raise PermissionError(f"{path.name} belongs to user {owner}, not to this one ({os.geteuid()})")
        return file.read()


@contextmanager
def _locked(path: Path, log: Log | None) -> Iterator[None]:
    """Hold the lock of an entry; without ``log`` raise `BlockingIOError` rather than wait for another process."""
    lock = _lock_file(path)
    while True:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if log is None:
                    raise
                log(f"waiting for another process that builds {path.name}")
                fcntl.flock(handle, fcntl.LOCK_EX)
            try:
                current = lock.stat().st_ino == os.fstat(handle).st_ino
            except FileNotFoundError:
                current = False
            if current:
                yield
                return
        finally:
            os.close(handle)  # releases the lock; a lock file removed by `clear` meanwhile is taken anew
