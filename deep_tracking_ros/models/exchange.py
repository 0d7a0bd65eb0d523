"""Models come in from elsewhere, after full checks of their files."""

from __future__ import annotations

import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from deep_tracking_ros.errors import ModelError
from deep_tracking_ros.models.card import ModelCard
from deep_tracking_ros.models.store import WEIGHTS, Model

FILES = ("card.yaml", "model.safetensors", "golden.npz")
"""What makes a model; anything else in a folder or archive is left behind."""
LARGEST = 1 << 30
"""Bytes that a file of a model may have unpacked."""


def import_model(
    source: Path, check: Callable[[Model], None], into: Path = WEIGHTS, replace: bool = False
) -> Model:  # fmt: skip
    """Copy a model folder, or a zip of one, to where models are found by name.

    The files are copied aside, checked there, and moved into place in one step: a model is there whole or not at all.

    Args:
        source: folder or zip file with ``card.yaml``, ``model.safetensors`` and, if there is one, ``golden.npz``.
        check: raises `ModelError` where the weights do not fit the architecture; gets the copied model.
        into: folder of models.
        replace: put it in the place of a model of the same name.

    Raises:
        ModelError: the source or one of its files is missing, damaged or not fit, or the name is taken.
    """
    if not into.is_dir():
        raise ModelError(f"there is no folder {into} to import into")
    try:
        with tempfile.TemporaryDirectory(dir=into, prefix=".import-") as aside:
            copy = Path(aside) / "model"
            copy.mkdir()
            _copy_files(source, copy)
            card = ModelCard.load(copy / "card.yaml")
            if not card.name or PurePosixPath(card.name).name != card.name or card.name.startswith("."):
                raise ModelError(f"the model's name is {card.name!r}; it must be one that a folder can have")
            target = into / card.name
            if target.exists() and not replace:
                raise ModelError(
                    f"there is a model {card.name!r} in {into} already; say --replace to put this one there"
                )
            check(Model(copy, card))
            if target.exists():
                target.replace(Path(aside) / "old")
            copy.replace(target)
            return Model(target, card)
    except OSError as error:
        raise ModelError(f"cannot import {source} into {into}: {error}") from error


def _copy_files(source: Path, copy: Path) -> None:
    if source.is_dir():
        for name in FILES:
            if (source / name).is_file():
                shutil.copyfile(source / name, copy / name)
    elif zipfile.is_zipfile(source):
        try:
            with zipfile.ZipFile(source) as archive:
                _unpack(archive, copy)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError, zlib.error) as error:
            raise ModelError(f"cannot unpack {source}: {error or 'it ends too early'}") from error
    else:
        raise ModelError(f"{source} is neither a folder nor a zip file")
    if missing := [name for name in FILES[:2] if not (copy / name).is_file()]:
        raise ModelError(f"{source} holds no {' and no '.join(missing)}; a model has {', '.join(FILES)}")


def _unpack(archive: zipfile.ZipFile, copy: Path) -> None:
    """The model's files out of an archive, wherever in it they lie; names of the archive are not used as paths."""
    for name in FILES:
        entries = [info for info in archive.infolist() if PurePosixPath(info.filename).name == name]
        if len(entries) > 1:
            raise ModelError(f"the archive holds {len(entries)} files {name}; import one model at a time")
        for info in entries:
            if info.file_size > LARGEST or stat.S_ISLNK(info.external_attr >> 16):
                raise ModelError(f"{info.filename} in the archive is a link or larger than {LARGEST >> 20} MiB")
            with archive.open(info) as packed, (copy / name).open("wb") as file:
                shutil.copyfileobj(packed, file)
