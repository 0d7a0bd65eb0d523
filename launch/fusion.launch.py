"""Link objects in space with objects in a camera's image: see the arguments with ``--show-args``."""

from deep_tracking_ros.ros.launching import describe


def generate_launch_description():
    """The arguments and nodes of ``deep-tracking run fusion``."""
    return describe("fusion")
