"""What ROS is told of a parameter."""

from __future__ import annotations

import math

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

from deep_tracking_ros.parameters import Parameter


def descriptor(parameter: Parameter, read_only: bool) -> ParameterDescriptor:
    """What `ros2 param describe` shows of a parameter."""
    text = parameter.description + (f" [{parameter.unit}]" if parameter.unit else "")
    result = ParameterDescriptor(
        name=parameter.name,
        description=text,
        additional_constraints=f"one of {', '.join(parameter.choices)}" if parameter.choices else "",
        read_only=read_only,
        dynamic_typing=True,  # so that `rate:=2` is taken for a float; the dataclass checks the type
    )
    low, high = parameter.minimum, parameter.maximum
    if parameter.type is int and (low is not None or high is not None):
        bounds = (-(2**63) if low is None else int(low), 2**63 - 1 if high is None else int(high))
        result.integer_range = [IntegerRange(from_value=bounds[0], to_value=bounds[1])]
    if parameter.type is float and (low is not None or high is not None):
        limits = (-math.inf if low is None else float(low), math.inf if high is None else float(high))
        result.floating_point_range = [FloatingPointRange(from_value=limits[0], to_value=limits[1])]
    return result
