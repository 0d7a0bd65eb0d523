"""Deep tracking for ROS 2: boxes, masks, point trajectories, flow and scene flow from camera and lidar streams.

Importing the package is instant and needs neither ROS nor torch. ``deep_tracking_ros.msg``, ``.srv`` and
``.action`` exist once the interfaces were built by colcon; everything below ``deep_tracking_ros.ros`` works without.
"""

from pkgutil import extend_path

# Modules may come from a checkout while the generated interfaces come from the install space.
__path__ = extend_path(__path__, __name__)

__version__ = "0.1.0"
