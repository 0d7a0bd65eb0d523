"""The contract of every pipeline: a pure function of stamped input, the same live, from a bag and from Python.

A pipeline never asks for the time, starts no thread and knows nothing of ROS. Its caller makes sure that `step`,
`command` and `reset` do not run at the same time; `remember` may be called from one other thread. Every input comes to
`remember` first and then, in the same order and unless it was dropped, to `step`: the same object, live and offline.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from deep_tracking_ros.errors import ErrorCode, InvalidRequestError
from deep_tracking_ros.inference.engine import Engine
from deep_tracking_ros.pipelines.black_box import Place


@dataclass(frozen=True, eq=False)
class Output:
    """One result, for the output port of this name."""

    port: str
    item: Any


@dataclass(frozen=True)
class Reply:
    """Answer to a command. Failed commands raise a `DeepTrackingError` instead, which carries its code."""

    message: str
    code: ErrorCode = ErrorCode.SUCCESS
    id: int = 0  # of the target that the command was about, 0 = none
    count: int = 0  # of targets that the command was about


@dataclass(frozen=True)
class Memory:
    """What outlives a pipeline, for the one that takes its place."""

    last_id: int = 0
    """The largest id that was given."""
    epoch: int = 0
    """Of what comes next."""


P = TypeVar("P", bound="Pipeline")


class Pipeline(ABC):
    """A capability of the package, from stamped input to stamped results."""

    name: ClassVar[str]
    Parameters: ClassVar[type]  # dataclass made of `parameter` fields
    inputs: ClassVar[Mapping[str, type]]  # port -> type of item, such as {'image': Frame}
    outputs: ClassVar[Mapping[str, type]]  # port -> type of item, such as {'boxes': TrackedBoxes}
    commands: ClassVar[Mapping[str, type]]  # command -> request dataclass
    optional: ClassVar[frozenset[str]] = frozenset()
    """Inputs that may stay silent."""
    remembered: ClassVar[frozenset[str]] = frozenset()
    """Inputs that `remember` keeps whole: where a busy live node drops one before `step`, nothing is lost."""
    together: bool = False
    """Whether inputs of several ports that wait at the same time are better taken by one `step_together`."""

    parameters: Any
    black_box: Place | None = None
    """Where whoever runs the pipeline writes a `Recording` among its outputs; None = there are none."""

    @classmethod
    def make(cls: type[P], parameters: Any, log: Callable[[str], None] | None = None) -> P:
        """A pipeline with its models loaded, as its parameters ask.

        Args:
            parameters: an instance of ``Parameters``.
            log: told in a sentence what was chosen and why, such as the backend.
        """
        return cls(parameters)  # type: ignore[call-arg]  # unless a class says otherwise there is no model to load

    @abstractmethod
    def step(self, port: str, item: Any) -> Iterable[Output]:
        """Take one input and give what follows from it.

        Duplicates and late input are counted and give nothing. Raises a `DeepTrackingError` for input that cannot be
        used; the state is then as before. The caller gives each input to `remember` first.
        """

    def step_together(self, inputs: Sequence[tuple[str, Any]]) -> list[tuple[Output, ...]]:
        """Take inputs, each of another port, as one `step` after the other would, and give what follows from each."""
        return [tuple(self.step(port, item)) for port, item in inputs]

    def command(self, request: Any) -> Reply:
        """Carry out a request, one of the types in `commands`. Raises a `DeepTrackingError` where it cannot."""
        raise InvalidRequestError(f"{type(request).__name__} is no command of {self.name}")

    @abstractmethod
    def reset(self, reason: str) -> None:
        """Drop what depends on time, as after a time jump: the epoch counts up, targets stay known but LOST."""

    def remember(self, port: str, item: Any) -> None:
        """Take note of an input as it arrives, whether it will come to `step` or be dropped by a busy live node.

        The one place where inputs are kept for commands about the past, so that they are kept in the order in which
        they arrived, however far `step` lags behind.
        """

    def predict(self, output: Output, stamp: int) -> Output:
        """The output moved forward to a later time (ns), where the pipeline does so and its parameters ask for it."""
        return output

    def memory(self) -> Memory:
        """What the pipeline that takes this one's place is to `resume` from: no id is then given twice.

        One that gives neither ids nor epochs has nothing to remember.
        """
        return Memory()

    def resume(self, memory: Memory) -> None:
        """Go on from where another pipeline ended, in a new epoch; called before anything else."""

    @property
    def engines(self) -> tuple[Engine, ...]:
        """The networks in use; the caller may upgrade those that are a `SwappableEngine`, in a thread of its own."""
        return ()

    @abstractmethod
    def status(self) -> Mapping[str, str | int | float]:
        """What a person debugging wants to know, by name: backend, model, counts. For diagnostics."""

    def warnings(self) -> Sequence[str]:
        """What is wrong with the newest input though `step` goes on, in sentences; may be called from any thread."""
        return ()

    def close(self) -> None:
        """Free models and buffers; the pipeline is not used again."""
