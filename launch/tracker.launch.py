"""Follow targets in a camera stream, or in a bag that is played: see the arguments with ``--show-args``."""

from deep_tracking_ros.ros.launching import describe


def generate_launch_description():
    """The arguments and nodes of ``deep-tracking run tracker``."""
    return describe("tracker")
