"""A pipeline that takes another's place gives no id twice and begins a new epoch."""

import pytest
from template_tracker import box_at, frame
from test_multi_object_pipeline import feed, seen
from test_multi_object_pipeline import make as make_multi
from test_single_object_pipeline import make as make_single
from test_single_object_pipeline import step

from deep_tracking_ros.pipelines.pipeline import Memory
from deep_tracking_ros.pipelines.requests import RemoveTarget, SetTarget


def follow_one(pipeline):
    """(id, epoch) of a new target of a single-object pipeline, which is then removed."""
    step(pipeline, frame(0, (40, 60)))
    id_ = pipeline.command(SetTarget(box_at(40, 60))).id
    result = step(pipeline, frame(1, (40, 60)))
    assert [box.id for box in result.boxes] == [id_]
    pipeline.command(RemoveTarget(id_))
    return id_, result.epoch


def see_one(pipeline):
    """(id, epoch) of a new object of a multi-object pipeline."""
    result = feed(pipeline, seen(0, 50), seen(1, 50))[-1]
    (box,) = result.boxes
    return box.id, result.epoch


@pytest.mark.parametrize(("make", "use"), [(make_single, follow_one), (make_multi, see_one)])
def test_ids_and_epochs_go_on(make, use):
    memory, given = Memory(), []
    for _ in range(3):
        pipeline = make()
        pipeline.resume(memory)
        given.append(use(pipeline))
        memory = pipeline.memory()
        pipeline.close()
    assert given == [(1, 0), (2, 1), (3, 2)]
    assert memory == Memory(last_id=3, epoch=3)
