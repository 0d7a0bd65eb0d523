"""Steps of a `SingleObjectPipeline` with the template tracker, one image after the other."""

from template_tracker import TemplateTracker, frame

from deep_tracking_ros.errors import InvalidImageError
from deep_tracking_ros.parameters import make_parameters
from deep_tracking_ros.pipelines.single_object import SingleObjectPipeline

T0 = 10 * 10**9  # ns, stamp of frame 0


def make(tracker=None, **values):
    return SingleObjectPipeline(make_parameters(SingleObjectPipeline.Parameters, values), tracker or TemplateTracker())


def step(pipeline, item):
    """The one result of a frame that arrives and is processed at once, or None."""
    pipeline.remember("image", item)
    return process(pipeline, item)


def process(pipeline, item):
    """The one result of a frame that arrived before, or None."""
    outputs = list(pipeline.step("image", item))
    return outputs[0].item if outputs else None


def run(pipeline, positions, start=0, offset=T0):
    """Results of frames in which object 0 is at these positions."""
    return [step(pipeline, frame(start + i, position, offset=offset)) for i, position in enumerate(positions)]


def way(number, start=(40, 60), speed=2):
    return [(start[0] + speed * i, start[1]) for i in range(number)]


def broken():
    raise InvalidImageError("the image has 5 bytes, 640x480 bgr8 needs 921600")
