"""Find road users in the sweeps of a lidar: see the arguments with ``--show-args``."""

from deep_tracking_ros.ros.launching import describe


def generate_launch_description():
    """The arguments and nodes of ``deep-tracking run lidar_proposals``."""
    return describe("lidar_proposals")
