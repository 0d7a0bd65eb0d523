"""Give the boxes of a 3D detector ids that stay with their objects: see the arguments with ``--show-args``."""

from deep_tracking_ros.ros.launching import describe


def generate_launch_description():
    """The arguments and nodes of ``deep-tracking run multi_object_tracker_3d``."""
    return describe("multi_object_tracker_3d")
