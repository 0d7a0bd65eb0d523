"""The training loop: producers write samples into a ring on disk, one trainer draws random batches from it.

Neither waits for the other: a fast producer gives fresh samples, a slow one has its samples used several times.
Everything that a run needs to go on lies in its folder: ``checkpoint.pt`` (replaced atomically), ``ring/`` and
``log.jsonl``. Starting the same run again resumes it, whatever ended it.

With a seed and ``workers`` 0 the same run gives the same weights. Producer processes make the same samples too, but how
many of them are there when a batch is drawn is a matter of time, and so is the batch.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import Tensor, nn

from deep_tracking_ros.errors import DataError, InvalidRequestError

Arrays = dict[str, NDArray[Any]]


class Task(Protocol):
    """What is learnt. It goes to the producers by pickle: it holds settings and paths, no data."""

    @property
    def fields(self) -> Mapping[str, tuple[tuple[int, ...], DTypeLike]]:
        """Name, shape and type of the arrays of one sample."""

    def producer(self, worker: int, first: int) -> Callable[[], Arrays]:
        """Load the data; the result makes sample number ``first`` of this worker, the next one, and so on."""

    def network(self) -> nn.Module:
        """The network with its start weights, all parameters that are to be learnt requiring gradients."""

    def groups(self, network: nn.Module) -> list[dict[str, Any]]:
        """Parameter groups for AdamW: 'params', 'lr', and 'start', the share of the run from which they learn."""

    def loss(self, network: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """'loss', which is minimised, and any other scalar figures for the log."""


@dataclass(frozen=True)
class LoopSettings:
    """How a training runs. Its length is ``steps`` or, where that is 0, ``seconds`` of the trainer's wall time."""

    seconds: float = 3600.0
    steps: int = 0
    batch: int = 32
    workers: int = 1  # producer processes; 0 = samples are made in the trainer, for tests
    seed: int = 0
    device: str = "cpu"
    ring: int = 6000  # samples kept
    fill: int = 512  # samples wanted before the first step
    reuse: float = 4.0  # how often a sample may be drawn on average
    weight_decay: float = 1e-4
    average: float = 0.999  # decay of the moving average of the weights, which is the result
    clip: float = 5.0  # largest norm of the gradient
    log_every: int = 10
    checkpoint_every: int = 25


class Ring:
    """The last ``capacity`` samples, in one memory-mapped file per field; several writers, one reader."""

    def __init__(
        self, folder: Path, fields: Mapping[str, tuple[tuple[int, ...], DTypeLike]], capacity: int, workers: int
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.share = capacity // max(workers, 1)  # slots of one writer
        self.data = {
            name: _memmap(folder / f"{name}.npy", (max(workers, 1), self.share, *shape), dtype)
            for name, (shape, dtype) in fields.items()
        }
        self.written = _memmap(folder / "written.npy", (max(workers, 1),), np.int64)
        self.drawn = _memmap(folder / "drawn.npy", (1,), np.int64)

    def put(self, worker: int, sample: Mapping[str, NDArray[Any]]) -> None:
        slot = int(self.written[worker]) % self.share
        for name, array in self.data.items():
            array[worker, slot] = sample[name]
        self.written[worker] += 1

    def draw(self, count: int, rng: np.random.Generator) -> Arrays:
        """A batch of samples at random, from the writers in proportion to what they have."""
        ready = np.minimum(self.written, self.share)
        chosen = rng.integers(int(ready.sum()), size=count)
        writer = np.searchsorted(np.cumsum(ready), chosen, side="right")
        slot = chosen - (np.cumsum(ready) - ready)[writer]
        self.drawn[0] += count
        return {name: array[writer, slot] for name, array in self.data.items()}


def _memmap(path: Path, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    if path.exists():
        array = np.load(path, mmap_mode="r+", allow_pickle=False)
        if array.shape != shape or array.dtype != np.dtype(dtype):
            raise DataError(
                f"{path} holds {array.shape} {array.dtype}, this run needs {shape} {np.dtype(dtype)}: the folder was "
                "made with other settings; give the same ones again or another folder"
            )
        return array  # type: ignore[no-any-return]
    return np.lib.format.open_memmap(path, "w+", dtype, shape)


def _produce(task: Task, ring_folder: Path, settings: LoopSettings, worker: int) -> None:
    """Body of a producer process; ends with its parent."""
    torch.set_num_threads(1)
    os.nice(3)  # where processors are short, the trainer goes first
    parent = os.getppid()
    ring = Ring(ring_folder, task.fields, settings.ring, settings.workers)
    make = task.producer(worker, int(ring.written[worker]))
    while os.getppid() == parent:
        # far enough ahead of the trainer: let others have the processor
        if ring.written.sum() > settings.ring and 2 * (ring.written.sum() - settings.ring) > ring.drawn[0]:
            time.sleep(0.2)
        else:
            ring.put(worker, make())


class Trainer:
    """One run: network, moving average, optimiser, and where it stands."""

    def __init__(self, task: Task, folder: Path, settings: LoopSettings) -> None:
        if settings.steps <= 0 and settings.seconds <= 0:
            raise InvalidRequestError(f"a training needs steps or seconds above 0, not {settings.seconds:g} s")
        folder.mkdir(parents=True, exist_ok=True)
        self.task, self.folder, self.settings = task, folder, settings
        torch.manual_seed(settings.seed)
        self.network = task.network().to(settings.device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's stubs
        self.average = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        groups = task.groups(self.network)
        self.rates = [group["lr"] for group in groups]
        self.starts = [group.pop("start", 0.0) for group in groups]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
        self.step, self.elapsed = 0, 0.0
        self.checkpoint = folder / "checkpoint.pt"
        if self.checkpoint.exists():
            self._load()

    @property
    def progress(self) -> float:
        """0 at the start of the run, 1 at its end."""
        s = self.settings
        return min(1.0, self.step / s.steps if s.steps else self.elapsed / s.seconds)

    def run(self, report: Callable[[dict[str, float]], None] | None = None) -> dict[str, Tensor]:
        """Train to the end and return the averaged weights. ``report`` gets every line of the log."""
        s = self.settings
        ring = Ring(self.folder / "ring", self.task.fields, s.ring, s.workers)
        context = multiprocessing.get_context("spawn")
        producers = [
            context.Process(target=_produce, args=(self.task, self.folder / "ring", s, worker), daemon=True)
            for worker in range(s.workers)
        ]
        for producer in producers:
            producer.start()
        make = self.task.producer(0, int(ring.written[0])) if s.workers == 0 else None
        rng = np.random.default_rng([s.seed, self.step])
        try:
            figures: list[dict[str, float]] = []
            while self.progress < 1:
                began = time.monotonic()
                fill = min(s.fill, s.ring, s.steps * s.batch or s.fill)
                wanted = max(fill, (int(ring.drawn[0]) + s.batch) / s.reuse)
                while ring.written.sum() < wanted:
                    if make is not None:
                        ring.put(0, make())
                    elif not all(producer.is_alive() for producer in producers):
                        raise DataError("a producer of training samples ended; its error is above")
                    else:
                        time.sleep(0.1)
                        began = time.monotonic()  # waiting for samples is not training
                figures.append(self._learn(ring.draw(s.batch, rng)))
                self.elapsed += time.monotonic() - began
                if self.step % s.log_every == 0 or self.progress >= 1:
                    line = {"step": self.step, "seconds": round(self.elapsed, 1), "samples": self.step * s.batch}
                    line |= {"produced": int(ring.written.sum()), "lr": self.optimizer.param_groups[0]["lr"]}
                    means = {k: round(float(np.mean([f[k] for f in figures])), 5) for k in figures[0]}
                    self._log(line | means, report)
                    figures = []
                if self.step % s.checkpoint_every == 0 or self.progress >= 1:
                    self._save()
        finally:
            for producer in producers:
                producer.terminate()
                producer.join()
        return self.average

    def _learn(self, arrays: Arrays) -> dict[str, float]:
        """One step of AdamW with cosine learning rate."""
        for group, rate, start in zip(self.optimizer.param_groups, self.rates, self.starts, strict=True):
            learns = self.progress >= start
            for parameter in group["params"]:
                parameter.requires_grad_(learns)
            warm = min(1.0, (self.step + 1) / 50)
            cosine = 0.5 * (1 + math.cos(math.pi * self.progress))
            group["lr"] = rate * warm * (0.02 + 0.98 * cosine) if learns else 0.0
        batch = {}
        for name, array in arrays.items():
            tensor = torch.from_numpy(array)
            if self.settings.device != "cpu":
                tensor = tensor.pin_memory().to(self.settings.device, non_blocking=True)
            batch[name] = tensor
        figures = self.task.loss(self.network, batch)
        self.optimizer.zero_grad(set_to_none=True)
        figures["loss"].backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip)
        self.optimizer.step()
        self.step += 1
        decay = min(self.settings.average, (1 + self.step) / (10 + self.step))
        for name, value in self.network.state_dict().items():
            self.average[name].lerp_(value.detach(), 1 - decay)
        return {name: float(value.detach()) for name, value in figures.items()}

    def _log(self, line: dict[str, float], report: Callable[[dict[str, float]], None] | None) -> None:
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        if report is not None:
            report(line)

    def _save(self) -> None:
        state = {
            "network": self.network.state_dict(), "average": self.average, "optimizer": self.optimizer.state_dict(),
            "step": self.step, "elapsed": self.elapsed, "random": torch.get_rng_state(),
        }  # fmt: skip
        if self.settings.device != "cpu":
            state["random_device"] = torch.cuda.get_rng_state()
        part = self.checkpoint.with_suffix(".part")
        torch.save(state, part)
        part.replace(self.checkpoint)

    def _load(self) -> None:
        try:
            state = torch.load(self.checkpoint, map_location=self.settings.device, weights_only=True)
            self.network.load_state_dict(state["network"])
            self.average = state["average"]
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.elapsed = state["step"], state["elapsed"]
            # what is drawn at random goes on too; checkpoints of before that was kept get numbers of their own
            torch.manual_seed(self.settings.seed + self.step)
            if "random" in state:
                torch.set_rng_state(state["random"].cpu())
            if "random_device" in state and self.settings.device != "cpu":
                torch.cuda.set_rng_state(state["random_device"].cpu())
        except Exception as error:
            raise DataError(
                f"the checkpoint {self.checkpoint} does not belong to this training ({error}); "
                "give another folder or delete it"
            ) from error


def plot(log: Path, picture: Path) -> None:
    """Draw every figure of a ``log.jsonl`` over the number of samples. Raises `DataError` for a log without lines."""
    try:
        lines = [json.loads(line) for line in log.read_text().splitlines()]
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read the training log {log}: {error}") from error
    if not lines:
        raise DataError(f"the training log {log} is empty")
    from matplotlib.figure import Figure

    names = [name for name in lines[-1] if name not in ("step", "seconds", "samples", "produced")]
    figure = Figure(figsize=(8, 2.2 * len(names)), layout="constrained")
    for axes, name in zip(figure.subplots(len(names), squeeze=False)[:, 0], names, strict=True):
        axes.plot([line["samples"] for line in lines], [line[name] for line in lines])
        axes.set_ylabel(name)
        axes.grid(alpha=0.3)
    axes.set_xlabel("samples")
    figure.savefig(picture, dpi=110)
