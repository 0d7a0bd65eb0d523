"""What rclpy keeps in other places in some distributions: one import for Humble, Jazzy and Kilted."""

try:
    from rclpy.clock_type import ClockType
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.clock import ClockType  # type: ignore[attr-defined]
    from rclpy.qos_event import SubscriptionEventCallbacks

__all__ = ["ClockType", "SubscriptionEventCallbacks"]
