"""The real node and the real pipeline, with a small tracker that needs no model; a process of its own in the tests."""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "pipelines"))

import rclpy
from rclpy.executors import ExternalShutdownException
from template_tracker import TemplateTracker

from deep_tracking_ros.pipelines.single_object import SingleObjectPipeline
from deep_tracking_ros.ros.node import PipelineNode


class TemplatePipeline(SingleObjectPipeline):
    """``model`` is template, slow (50 ms a frame) or failing (each step raises); others are looked up as always."""

    @classmethod
    def make(cls, parameters, log=None):
        if parameters.model in ("template", "slow", "failing"):
            return cls(parameters, TemplateTracker())
        return super().make(parameters, log)

    def step(self, port, item):
        if self.parameters.model == "slow":
            time.sleep(0.05)
        if self.parameters.model == "failing":
            raise ZeroDivisionError("a fault of the pipeline")
        return super().step(port, item)


def main():
    rclpy.init()
    node = PipelineNode(TemplatePipeline)
    try:
        node.run()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
