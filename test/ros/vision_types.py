"""Messages of ``vision_msgs`` 4.x as far as detections are made of them, as documented; the package is not on PyPI."""

TYPES = {
    "Point2D": "float64 x\nfloat64 y",
    "Pose2D": "vision_msgs/Point2D position\nfloat64 theta",
    "BoundingBox2D": "vision_msgs/Pose2D center\nfloat64 size_x\nfloat64 size_y",
    "BoundingBox3D": "geometry_msgs/Pose center\ngeometry_msgs/Vector3 size",
    "ObjectHypothesis": "string class_id\nfloat64 score",
    "ObjectHypothesisWithPose": "vision_msgs/ObjectHypothesis hypothesis\ngeometry_msgs/PoseWithCovariance pose",
    **{
        f"Detection{n}D": "std_msgs/Header header\nvision_msgs/ObjectHypothesisWithPose[] results\n"
        f"vision_msgs/BoundingBox{n}D bbox\nstring id"
        for n in (2, 3)
    },
    **{f"Detection{n}DArray": f"std_msgs/Header header\nvision_msgs/Detection{n}D[] detections" for n in (2, 3)},
}


def learn():
    """Make stand-ins with these fields known, as a workspace with the package would."""
    from deep_tracking_ros.ros import interfaces

    parts = [f"MSG: vision_msgs/{name}\n{text}" for name, text in TYPES.items()]
    for n in (2, 3):
        name = f"Detection{n}DArray"
        interfaces.learn(f"vision_msgs/msg/{name}", f"\n{'=' * 80}\n".join([TYPES[name], *parts]))
