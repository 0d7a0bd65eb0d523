from types import SimpleNamespace

import numpy as np
import pytest

from deep_tracking_ros.training.drawing import held_out, pairs_of
from deep_tracking_ros.training.frozen import fields_of_crops
from deep_tracking_ros.training.pairs import PairSettings
from deep_tracking_ros.training.samples import CutSettings, Sample, cut, size_in_template


def task(**values):
    common = {"images": (), "videos": (), "holdout": (), "pairs": PairSettings(), "seed": 3, "loosening": 0.1}
    return SimpleNamespace(**{**common, **values})


def drawn(draw):
    pair, rng = draw()
    return pair.template.image.sum(), *pair.template.box, *pair.search.box, rng.random()


def test_a_pair_depends_on_seed_worker_and_number_alone():
    draw = pairs_of(task(), worker=1, first=0)
    pairs = [drawn(draw) for _ in range(4)]
    assert drawn(pairs_of(task(), worker=1, first=3)) == pairs[3]
    assert drawn(pairs_of(task(), worker=0, first=3)) != pairs[3]
    assert drawn(pairs_of(task(seed=4), worker=1, first=3)) != pairs[3]
    assert len(set(pairs)) == 4


def test_the_size_in_the_template_is_that_of_the_target_in_its_crop():
    settings = CutSettings(box_noise=0.0)
    (pair, rng), side = pairs_of(task(loosening=0.0), worker=0, first=2)(), settings.template_size
    size = size_in_template(pair, settings)
    width, height = pair.template.box[2:] - pair.template.box[:2]
    margin = settings.context * (width + height)
    # the crop is a square of the area of the box with its margins
    assert size == pytest.approx(
        np.array([width, height]) * side / np.sqrt((width + margin) * (height + margin)), rel=1e-5
    )
    assert cut(pair, rng, settings).template.shape == (side, side, 3)


@pytest.mark.parametrize(
    ("positive", "visibility", "shows"), [(True, 1.0, True), (True, 0.2, False), (False, 1.0, False)]
)
def test_an_object_of_which_little_is_seen_is_no_example(positive, visibility, shows):
    none = np.zeros((1, 1, 3), np.uint8)
    assert Sample(none, none, np.zeros(4, np.float32), positive, visibility, None, "clip").shows is shows


def test_crops_or_their_features():
    assert fields_of_crops({"near": 64}, features=False) == {"near": ((64, 64, 3), np.uint8)}
    assert fields_of_crops({"near": 64}, features=True) == {"near": ((8, 8, 40), np.float16)}


def test_without_videos_nothing_is_held_out():
    assert held_out(task()).clips == ()
