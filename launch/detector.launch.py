"""Find objects in the images of one camera or several: see the arguments with ``--show-args``."""

from deep_tracking_ros.ros.launching import describe


def generate_launch_description():
    """The arguments and nodes of ``deep-tracking run detector``."""
    return describe("detector")
