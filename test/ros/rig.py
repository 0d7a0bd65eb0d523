"""A camera, an operator and a listener around a node that runs in a process of its own."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from patience import PATIENCE
from rcl_interfaces.srv import SetParameters
from rclpy.action import ActionClient
from rclpy.parameter import Parameter as Value
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from template_tracker import STEP, box_at, picture

from deep_tracking_ros.geometry.boxes import xyxy_to_cxcywh
from deep_tracking_ros.ros.client import call, spin_until, temporary_node
from deep_tracking_ros.ros.images import fill_image
from deep_tracking_ros.ros.interfaces import message_class
from deep_tracking_ros.ros.messages import set_stamp, stamp_of

HERE = Path(__file__).resolve().parent
TrackedBoxArray = message_class("deep_tracking_ros/msg/TrackedBoxArray")
TrackObject = message_class("deep_tracking_ros/action/TrackObject")
SetTarget, RemoveTarget, ClearTargets = (
    message_class(f"deep_tracking_ros/srv/{name}") for name in ("SetTarget", "RemoveTarget", "ClearTargets")
)

START = 10 * 10**9  # ns, stamp of the first image


class Process:
    """A node of `template_node`, with its log."""

    def __init__(self, folder, space="", **parameters):
        arguments = [f for n, v in parameters.items() for f in ("-p", f"{n}:={v}")]
        arguments += ["-r", f"__ns:={space}"] if space else []
        self.tracebacks = 0  # that a test brings about on purpose
        self.log = folder / f"node{len(list(folder.iterdir()))}.log"
        with self.log.open("w") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-u", str(HERE / "template_node.py"), "--ros-args", *arguments],
                stdout=out,
                stderr=subprocess.STDOUT,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )

    def text(self):
        return self.log.read_text()

    def interrupt(self):
        """SIGINT, and the exit status; also of a process that has ended already."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE)


class Rig:
    """The other side of all topics, services and the action of a node in the namespace ``space``."""

    def __init__(self, node, space=""):
        self.node, self.space = node, space
        self.name = name = f"{space}/single_object_tracker"
        self.index = 0
        self.changed = {}  # parameters that a test has changed, with the values that the next one needs
        self.received = []
        self.reports = []
        self.camera = node.create_publisher(Image, f"{space}/image", QoSProfile(depth=50))
        node.create_subscription(TrackedBoxArray, f"{name}/boxes", self.received.append, QoSProfile(depth=100))
        node.create_subscription(DiagnosticArray, "/diagnostics", self.reports.append, QoSProfile(depth=100))
        self.action = ActionClient(node, TrackObject, f"{name}/track_object")

    def wait(self, done):
        assert spin_until(self.node, done, PATIENCE), "nothing came in time"

    def spin(self, seconds):
        spin_until(self.node, lambda: False, seconds)

    def ready(self):
        """Until camera, node and listener have found each other: the result of the newest image comes."""
        self.wait(self.camera.get_subscription_count)
        self.wait(lambda: spin_until(self.node, partial(self.results, self.send()), 2.0))
        self.received.clear()

    def send(self, *centres, frame_id="camera"):
        """Publish the next image, without waiting; gives its stamp."""
        message = fill_image(Image(), picture(*centres))
        stamp = START + self.index * STEP
        set_stamp(message.header.stamp, stamp)
        message.header.frame_id = frame_id
        self.index += 1
        self.camera.publish(message)
        return stamp

    def results(self, stamp):
        """What was received about the image of this stamp."""
        return [m for m in self.received if stamp_of(m.header.stamp) == stamp]

    def show(self, *centres):
        """Publish the next image; gives the boxes of it."""
        stamp = self.send(*centres)
        self.wait(partial(self.results, stamp))
        return self.results(stamp)[0]

    def call(self, kind, service, request):
        """The answer of one of the node's services."""
        return call(self.node, kind, f"{self.name}/{service}", request, PATIENCE)

    def change(self, transition):
        request = ChangeState.Request(transition=Transition(id=getattr(Transition, f"TRANSITION_{transition.upper()}")))
        return self.call(ChangeState, "change_state", request).success

    def state(self):
        return self.call(GetState, "get_state", GetState.Request()).current_state.label

    def set_parameter(self, name, value):
        request = SetParameters.Request(parameters=[Value(name, value=value).to_parameter_msg()])
        return self.call(SetParameters, "set_parameters", request).results[0]

    def restart(self, **parameters):
        """Take the node through a whole cycle with other parameters, from any state."""
        if self.state() == "active":
            assert self.change("deactivate")
        if self.state() == "inactive":
            assert self.change("cleanup")
        for name, value in parameters.items():
            answer = self.set_parameter(name, value)
            assert answer.successful, answer.reason
        assert self.change("configure")
        assert self.change("activate")
        self.received.clear()

    def set_target(self, at, stamp=0, **fields):
        request = fill_box(SetTarget.Request(**fields), at)
        set_stamp(request.stamp, stamp)
        return self.call(SetTarget, "set_target", request)

    def remove_target(self, id_):
        return self.call(RemoveTarget, "remove_target", RemoveTarget.Request(id=id_))

    def clear_targets(self):
        return self.call(ClearTargets, "clear_targets", ClearTargets.Request())

    def diagnostics(self, wanted=lambda values: True):
        """(level, message, values) of the next report of the node that is wanted."""
        self.reports.clear()

        def found():
            for report in self.reports:
                for status in report.status:
                    level = int.from_bytes(status.level, "little")
                    values = {v.key: v.value for v in status.values} | {"level": level, "message": status.message}
                    if f"/{status.name}" == self.name and wanted(values):
                        return level, status.message, values
            return None

        self.wait(found)
        return found()


def fill_box(request, at):
    """Write the box of the object at a pixel into a request or goal."""
    cx, cy, w, h = xyxy_to_cxcywh(box_at(*at)).tolist()
    request.center_x, request.center_y, request.size_x, request.size_y = cx, cy, w, h
    return request


@contextmanager
def running(folder, space="", **parameters):
    """(rig, process) around a node that ends with the block, by SIGINT and with status 0."""
    process = Process(folder, space, **{"model": "template", "diagnostics_period": 0.2, **parameters})
    try:
        with temporary_node(f"operator{space.replace('/', '_')}") as node:
            yield Rig(node, space), process
        assert process.interrupt() == 0, process.text()
        assert process.text().count("Traceback") == process.tracebacks, process.text()
    finally:
        if process.process.poll() is None:
            process.process.kill()
