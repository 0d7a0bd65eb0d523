"""The one node that runs any pipeline: a managed node with an intake, a worker thread and publishers.

Threads. The executor's thread takes messages, services and transitions and never waits for a network. The worker's
thread alone calls the pipeline: frames and commands reach it through one mailbox, so no two of them meet.
"""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from threading import Thread
from time import monotonic, perf_counter
from typing import Any

from rclpy.clock import Clock
from rclpy.executors import Executor, ExternalShutdownException, SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.task import Future

from deep_tracking_ros.errors import DataError, DeepTrackingError, ErrorCode, InvalidImageError, UnknownTargetError
from deep_tracking_ros.pipelines.black_box import Recording
from deep_tracking_ros.pipelines.pipeline import Memory, Output, Pipeline, Reply
from deep_tracking_ros.pipelines.registry import find_pipeline
from deep_tracking_ros.pipelines.requests import RemoveTarget, SetTarget
from deep_tracking_ros.ros.actions import Goals
from deep_tracking_ros.ros.black_box import BlackBoxFolder, BlackBoxWriter
from deep_tracking_ros.ros.commands import Commands
from deep_tracking_ros.ros.compat import ClockType
from deep_tracking_ros.ros.diagnostics import Diagnostics
from deep_tracking_ros.ros.intake import Intake
from deep_tracking_ros.ros.mailbox import Item, Mailbox
from deep_tracking_ros.ros.memory import keep_freed_memory
from deep_tracking_ros.ros.messages import CONVERTERS, failure
from deep_tracking_ros.ros.parameters import (
    DeclaredParameters,
    DetectionParameters,
    NodeParameters,
    OverlayParameters,
    SensorParameters,
    TransportParameters,
    VisionParameters,
    draws,
    node_parameters,
)
from deep_tracking_ros.ros.results import Results
from deep_tracking_ros.ros.signals import interruptible
from deep_tracking_ros.ros.upgrades import Upgrades
from deep_tracking_ros.ros.vision_bridge import DETECTIONS
from deep_tracking_ros.types import Frame

RCLError = rclpy_implementation.RCLError
MOST_FAILURES = 100
"""Of callbacks in a second; a node where more fail is out of order."""
SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class PipelineNode(LifecycleNode):
    """Runs a pipeline on the messages of a ROS graph.

    Configure loads the models and offers results, services and the action; activate subscribes and starts to work.
    A transition that fails leaves the node as it was, with the reason in the log and in ``/diagnostics``, and may be
    tried again with other parameters. With the parameter ``autostart`` the node does both by itself.
    """

    def __init__(self, pipeline: str | type[Pipeline], **options: Any) -> None:
        """A node for a pipeline, or for that of a name in the registry; ``options`` are those of `LifecycleNode`.

        Raises `InvalidRequestError` for an unknown name, or a parameter of the command line that is not valid.
        """
        kind = find_pipeline(pipeline) if isinstance(pipeline, str) else pipeline
        super().__init__(kind.name, **options)
        self._refuse_wrong_transitions()
        self.kind = kind
        self.pipeline: Pipeline | None = None
        self._memory = Memory()
        self._declared = DeclaredParameters(self, kind.Parameters, *node_parameters(kind))
        own: NodeParameters = self._declared.read(NodeParameters)
        self._own = own
        self._converters = CONVERTERS
        self.diagnostics = Diagnostics(self, own.diagnostics_period, self._status, self._warnings)
        self._results: Results | None = None
        self._commands: Commands | None = None
        self._goals: Goals | None = None
        self._upgrades: Upgrades | None = None
        self._black_box: BlackBoxWriter | None = None
        self._intake: Intake | None = None
        self._mailbox: Mailbox | None = None
        self._worker: Thread | None = None
        if own.autostart:
            clock = Clock(clock_type=ClockType.STEADY_TIME)
            self._starter = self.create_timer(0.0, self._start_by_itself, clock=clock)

    # ---- transitions

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._transition("configured", self._configure, self._release)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        done = self._transition("activated", self._start, self._stop)
        return super().on_activate(state) if done is SUCCESS else done

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._stop()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._release()
        return SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._stop()
        self._release()
        return SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self.on_shutdown(state)

    def _transition(self, what: str, do: Callable[[], None], undo: Callable[[], None]) -> TransitionCallbackReturn:
        try:
            do()
        except Exception as error:  # rclpy would swallow it
            self._log_fault(error)
            self.diagnostics.error = f"not {what}: {failure(error).message}"
            self.get_logger().error(self.diagnostics.error)
            undo()
            return FAILURE
        self.diagnostics.error = ""
        return SUCCESS

    def _refuse_wrong_transitions(self) -> None:
        """Answer a transition that the state does not have, such as to activate an active node; rclpy would raise."""
        service = self._service_change_state
        change = service.callback

        def answer(request: Any, response: Any) -> Any:
            try:
                return change(request, response)
            except RCLError:
                wanted = request.transition.label or f"number {request.transition.id}"
                self.get_logger().warning(f"there is no transition {wanted} in the state {self.lifecycle_state}")
                response.success = False
                return response

        service.callback = answer

    @property
    def lifecycle_state(self) -> str:
        """Such as 'inactive'."""
        return str(self._state_machine.current_state[1])

    def _start_by_itself(self) -> None:
        self._starter.cancel()
        if self.lifecycle_state == "unconfigured" and self.trigger_configure() is SUCCESS:
            self.trigger_activate()

    def _configure(self) -> None:
        self.pipeline = pipeline = self.kind.make(self._declared.read(self.kind.Parameters), self.get_logger().info)
        pipeline.resume(self._memory)
        vision_in = self._read(DetectionParameters).detections_type == "vision_msgs"
        self._converters = {**CONVERTERS, **DETECTIONS} if vision_in else CONVERTERS
        vision_out = self._read(VisionParameters).publish_vision_msgs
        self._results = Results(self, pipeline.outputs, self.diagnostics.measurements, vision_out, draws(self.kind))
        self._commands = Commands(self, pipeline.commands, self.submit)
        if {SetTarget, RemoveTarget} <= set(pipeline.commands.values()):
            self._goals = Goals(self, self.submit)
        logger = self.get_logger()
        if pipeline.black_box is not None:
            folder = BlackBoxFolder(pipeline.black_box, self.get_fully_qualified_name())
            self._black_box = BlackBoxWriter(folder, logger.info, logger.warning)
        self._upgrades = Upgrades(pipeline.engines, logger.info, logger.warning)

    def _read(self, kind: type) -> Any:
        """Parameters as they are now; their defaults where this node has none such."""
        return self._declared.read(kind) if kind in node_parameters(self.kind) else kind()

    def _release(self) -> None:
        if self._upgrades is not None:
            self._upgrades.stop()
            self._upgrades = None
        if self._black_box is not None:
            self._black_box.close()
            self._black_box = None
        if self._goals is not None:
            self._goals.retire()
        for part in (self._commands, self._results):
            if part is not None:
                part.destroy()
        self._commands = self._results = None
        if self.pipeline is not None:
            self._memory = self.pipeline.memory()
            self.pipeline.close()
            self.pipeline = None

    def _start(self) -> None:
        assert self.pipeline is not None
        self._own = self._declared.read(NodeParameters)
        self._overlay_rate = self._read(OverlayParameters).overlay_rate
        self._mailbox = mailbox = Mailbox(1 if self._own.intake == "newest" else self._own.intake_limit)
        self._worker = Thread(target=self._work, args=(mailbox, self.pipeline), name=self.get_name(), daemon=True)
        self._worker.start()
        sensors, transport = self._read(SensorParameters), self._read(TransportParameters).image_transport
        callbacks = self._receive, self._report
        measurements = self.diagnostics.measurements
        self._intake = Intake(self, self.pipeline, sensors, transport, measurements, *callbacks, self._converters)

    def _stop(self) -> None:
        if self._intake is not None:
            self._intake.close()
        if self._mailbox is not None and self._worker is not None:
            self._mailbox.close()
            self._worker.join()
        self._intake = self._mailbox = self._worker = None
        if self._goals is not None and self.pipeline is not None:
            for id_ in self._goals.end(Reply("the node was deactivated", ErrorCode.NOT_ACTIVE)):
                with suppress(UnknownTargetError):
                    self.pipeline.command(RemoveTarget(id_))

    # ---- the way of a frame

    def _receive(self, item: Item) -> None:
        """Executor's thread: keep an input for commands about the past, and leave it for the worker."""
        if self._mailbox is None or self.pipeline is None:
            return
        self.pipeline.remember(item.port, item.value)
        dropped = self._mailbox.put(item)
        self.diagnostics.measurements.count("dropped", 0 if item.port in self.pipeline.remembered else dropped)

    def _work(self, mailbox: Mailbox, pipeline: Pipeline) -> None:
        """Worker's thread, until the mailbox is closed."""
        while (job := mailbox.take()) is not None:
            if not isinstance(job, Item):
                job()
                continue
            jobs = [job, *mailbox.others(job)] if pipeline.together else [job]
            try:
                if ready := [job for job in jobs if self._decoded(job)]:
                    self._process(ready, pipeline)
            except Exception as error:
                if not self.context.ok():
                    return  # interrupted: nothing can be published any more
                self._report(error)

    def _decoded(self, job: Item) -> bool:
        """Decode an image, so that this is timed by itself and one that cannot be takes no other with it."""
        measurements = self.diagnostics.measurements
        measurements.time(wait=(monotonic() - job.arrived) * 1e3)
        began = perf_counter()
        try:
            if isinstance(job.value, Frame):
                _ = job.value.image
        except Exception as error:
            self._report(error)
            return False
        measurements.time(decode=(perf_counter() - began) * 1e3)
        return True

    def _process(self, jobs: Sequence[Item], pipeline: Pipeline) -> None:
        measurements = self.diagnostics.measurements
        began = perf_counter()
        results = pipeline.step_together([(job.port, job.value) for job in jobs])
        measurements.time(step=(perf_counter() - began) * 1e3)
        for job, outputs in zip(jobs, results, strict=True):
            about = isinstance(job.value, Frame) and job.port not in pipeline.remembered
            for output in outputs:
                self._publish(output, job.value if about else None, pipeline)
            measurements.time(latency=(monotonic() - job.arrived) * 1e3)

    def _publish(self, output: Output, frame: Frame | None, pipeline: Pipeline) -> None:
        assert self._results is not None
        if isinstance(output.item, Recording):
            if self._black_box is not None:
                self._black_box.put(output.item)
            return
        message = self._results.publish(output, pipeline)
        if self._goals is not None:
            self._goals.feed(output.item, message)
        if frame is not None:
            self._results.draw(output, frame, self._overlay_rate)

    def _report(self, error: Exception, what: str = "input skipped") -> None:
        """An input could not be read or processed, or a callback failed: the node goes on with the next."""
        unusable = isinstance(error, InvalidImageError | DataError)
        self.diagnostics.measurements.count("unusable" if unusable else "faults")
        self.diagnostics.last_fault = failure(error).message
        self._log_fault(error)
        self.get_logger().warning(f"{what}: {self.diagnostics.last_fault}", throttle_duration_sec=5.0)

    def _log_fault(self, error: Exception) -> None:
        if not isinstance(error, DeepTrackingError):
            text = "".join(traceback.format_exception(error))
            self.get_logger().error(text, throttle_duration_sec=5.0)

    # ---- commands

    def submit(self, request: Any, then: Callable[[Reply], None] | None = None) -> Future:
        """Have a request carried out in the worker's thread, before the next frame.

        The future gives a `Reply`, also where the pipeline raised or the node is not active. ``then`` is called with
        it in the worker's thread, before the pipeline takes the next frame.
        """
        future = Future(executor=self.executor)
        pipeline = self.pipeline

        def carry_out() -> None:
            assert pipeline is not None
            try:
                reply = pipeline.command(request)
            except Exception as error:
                self._log_fault(error)
                reply = failure(error)
            if then is not None:
                then(reply)
            self._answer(future, reply)

        if self._mailbox is None or not self._mailbox.call(carry_out):
            text = f"the node {self.get_name()} is not active; activate it (ros2 lifecycle set), then try again"
            self._answer(future, Reply(text, ErrorCode.NOT_ACTIVE))
        return future

    def _answer(self, future: Future, reply: Reply) -> None:
        future.set_result(reply)
        if self.executor is not None:
            self.executor.wake()  # else whoever awaits the future is not resumed before the next message

    # ---- diagnostics

    def _status(self) -> Mapping[str, str | int | float]:
        lifecycle = {"lifecycle": self.lifecycle_state}
        if self.pipeline is None or self._upgrades is None:
            return lifecycle
        recorded = {} if self._black_box is None else self._black_box.status()
        return {**lifecycle, **self.pipeline.status(), **recorded, "engine_build": self._upgrades.progress}

    def _warnings(self) -> list[str]:
        found = [] if self._intake is None else self._intake.warnings()
        if self._black_box is not None and self._black_box.error:
            found.append(self._black_box.error)
        return found if self.pipeline is None else [*found, *self.pipeline.warnings()]

    # ---- life

    def run(self) -> None:
        """Serve until interrupted (`KeyboardInterrupt` or `ExternalShutdownException`), or out of order.

        One thread is enough, since no callback waits, and it is the cheapest: rclpy's executor of several threads
        costs 2 ms more per image.
        """
        keep_freed_memory()
        executor = SingleThreadedExecutor(context=self.context)
        executor.add_node(self)
        try:
            with interruptible(executor):
                self._serve(executor)
        finally:
            self._stop()
            self._send_last_results(executor)
            executor.shutdown()

    def _serve(self, executor: Executor) -> None:
        """Survive callbacks that fail, such as an answer to a client that is gone, unless they do nothing else."""
        failures: deque[float] = deque(maxlen=MOST_FAILURES)
        while self.context.ok():
            try:
                executor.spin_once()
            except ExternalShutdownException:
                raise
            except Exception as error:
                self._report(error, "callback failed")
                failures.append(monotonic())
                if len(failures) == MOST_FAILURES and failures[-1] - failures[0] < 1.0:
                    raise

    def _send_last_results(self, executor: Executor) -> None:
        """Tell whoever waits for a goal that it was ended, where the context is not shut down."""
        if self._goals is None or not self._goals.left or not self.context.ok():
            return
        goals, deadline = self._goals.left, monotonic() + 2.0
        with suppress(ExternalShutdownException):
            while self._goals.left and monotonic() < deadline:
                executor.spin_once(timeout_sec=0.01)
            for _ in range(20 + 4 * goals):  # their answers leave in turn, however slow the machine is
                executor.spin_once(timeout_sec=0.01)

    def destroy_node(self) -> None:
        """Stop the worker, free the pipeline, and end the node.

        In an executor of somebody else, goals get their results only where the node is shut down before.
        """
        self._stop()
        if self._goals is not None:
            self._goals.destroy()
        self._release()
        super().destroy_node()
