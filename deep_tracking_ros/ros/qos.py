"""Quality of service of the topics, and what to do where two sides do not fit."""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy

RESULTS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.VOLATILE)
"""Of what a pipeline publishes, and asked for of inputs other than images and clouds: every message counts."""

SENSOR = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT, durability=DurabilityPolicy.VOLATILE)
"""Of inputs such as odometry, whose gaps are bridged: it fits publishers of either reliability."""

TRANSFORMS = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.VOLATILE)
LATCHED = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
"""As tf2 has them for /tf and /tf_static."""

PROFILES = {"results": RESULTS, "sensor": SENSOR, "transforms": TRANSFORMS, "latched": LATCHED}
"""What a subscription asks for, by the name that a `Converter` gives."""

OVERLAY = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.VOLATILE)
"""Of pictures for people: only the newest is of use."""

DIAGNOSTICS = QoSProfile(depth=10)

RELIABILITIES = {
    "auto": ReliabilityPolicy.RELIABLE,  # until a publisher is found that offers less
    "reliable": ReliabilityPolicy.RELIABLE,
    "best_effort": ReliabilityPolicy.BEST_EFFORT,
    "system_default": ReliabilityPolicy.SYSTEM_DEFAULT,
}


def image_qos(reliability: str, depth: int) -> QoSProfile:
    """What a subscription to images asks for; ``reliability`` is one of `RELIABILITIES`."""
    return QoSProfile(depth=depth, reliability=RELIABILITIES[reliability], durability=DurabilityPolicy.VOLATILE)


def lowered(profile: QoSProfile) -> QoSProfile:
    """The same for publishers that are best effort, such as many detectors: what they lose is lost."""
    return QoSProfile(depth=profile.depth, reliability=ReliabilityPolicy.BEST_EFFORT, durability=profile.durability)


def describe_incompatibility(topic: str, policy: QoSPolicyKind, reliability: str) -> str:
    """What an incompatible publisher means for a user, and which parameter to change.

    Args:
        topic: name of the topic.
        policy: the policy that does not fit, as the middleware's event names it.
        reliability: the value of the parameter ``image_reliability``.
    """
    name = policy.name.lower()
    text = f"a publisher of {topic} offers a {name} that does not fit: nothing is received from it"
    if policy is QoSPolicyKind.RELIABILITY:
        return f"{text}. It is best effort, and image_reliability is {reliability}: set image_reliability:=best_effort"
    if policy is QoSPolicyKind.DURABILITY:  # asked for of what is said once and for all, and of nothing else
        return f"{text}. Let it be transient local, as tf2's static broadcaster is"
    return f"{text}. Let it offer the middleware's default {name}"
