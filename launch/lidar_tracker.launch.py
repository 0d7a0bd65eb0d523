"""Find road users in the sweeps of a lidar and give them ids: see the arguments with ``--show-args``."""

from deep_tracking_ros.ros.launching import describe


def generate_launch_description():
    """The arguments and nodes of ``deep-tracking run lidar_tracker``."""
    return describe("lidar_tracker")
