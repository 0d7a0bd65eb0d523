import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deep_tracking_ros.errors import ModelError
from deep_tracking_ros.single_object.parts.backbone import Backbone, imagenet_state
from deep_tracking_ros.single_object.parts.calibration import Calibration, calibration_error
from deep_tracking_ros.single_object.parts.correlation import bank_sampling, bank_scales, cross_correlation
from deep_tracking_ros.single_object.parts.success import success_curve
from deep_tracking_ros.single_object.siamfc_network import SiamFC


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 3), st.integers(1, 4), st.integers(1, 5), st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.tuples(st.integers(4, 9), st.integers(4, 9)),
)  # fmt: skip
def test_cross_correlation_is_convolution_with_run_time_weights(batch, members, channels, kernel, size):
    torch.manual_seed(0)
    features = torch.randn(batch, channels, *size)
    kernels = torch.randn(batch, members, *kernel, channels)
    expected = torch.cat(
        [
            torch.nn.functional.conv2d(one[None], kernel.permute(0, 3, 1, 2))
            for one, kernel in zip(features, kernels, strict=True)
        ]
    )
    torch.testing.assert_close(cross_correlation(features, kernels), expected, atol=1e-4, rtol=1e-4)


def test_bank_sampling_magnifies_about_the_centre():
    """A ramp read at a larger scale is flatter by that factor, and the same in the middle."""
    step = 0.2
    scales = bank_scales(step)
    sampling = bank_sampling(scales, 14, 10)
    torch.testing.assert_close(sampling.sum(2), torch.ones(9, 100))
    x = torch.arange(14.0).repeat(14, 1).flatten()
    for member, (width, height) in enumerate(scales):
        kernel = (sampling[member] @ x).reshape(10, 10)
        torch.testing.assert_close(kernel[:, 5] - kernel[:, 4], torch.full((10,), float(np.exp(-width))))
        assert kernel.mean() == pytest.approx(6.5, abs=1e-4)
        tall = (sampling[member] @ x.reshape(14, 14).T.flatten()).reshape(10, 10)
        torch.testing.assert_close(tall[5] - tall[4], torch.full((10,), float(np.exp(-height))))


def test_the_middle_member_is_the_middle_of_the_features():
    sampling = bank_sampling(bank_scales(0.15), 14, 10)[4]
    cells = torch.arange(14 * 14.0)
    torch.testing.assert_close((sampling @ cells).reshape(10, 10), cells.reshape(14, 14)[2:-2, 2:-2])


def test_box_weights_follow_the_box():
    network = SiamFC(8, 10, 112, 0.15)
    weights = network.box_weights(torch.tensor([[32.0, 72.0]]))[0, 4].detach()
    inside = torch.sigmoid(network.context).item()
    assert weights[5, 5] > 0.95
    assert weights[1, 5] > 0.5  # 72 px are 9 cells high
    assert weights[5, 0] == pytest.approx(inside, abs=0.02)  # but 4 cells wide
    wider = network.box_weights(torch.tensor([[32.0, 72.0]]))[0, 7].detach()
    assert wider.sum() > weights.sum()


def test_kernels_are_weighted_means():
    """A search region that shows the exemplar itself has cosine 1 with the middle kernel, at the middle only."""
    torch.manual_seed(1)
    network = SiamFC(16, 10, 112, 0.15).eval()
    features = torch.nn.functional.normalize(torch.randn(1, 16, 28, 28), dim=1)
    with torch.no_grad():
        kernels = network.kernels(features[:, :, 7:21, 7:21], torch.tensor([[56.0, 56.0]]))
        similarity = cross_correlation(features, kernels)[0, 4]
    assert similarity.max().item() == pytest.approx(1.0, abs=1e-4)
    assert similarity.argmax().item() == 9 * 19 + 9


def test_backbone_shapes_and_imagenet_weights():
    network = Backbone().eval()
    network.load_state_dict(imagenet_state())
    crops = torch.randint(0, 256, (2, 112, 96, 3), dtype=torch.uint8)
    with torch.no_grad():
        early, late, fine = network(crops)
    assert early.shape == (2, 40, 14, 12)
    assert late.shape == (2, 112, 7, 6)
    assert fine.shape == (2, 24, 28, 24)
    assert torch.isfinite(late).all()
    # trained features are of moderate size; wrong folding of the normalisation makes them explode or vanish
    assert 0.1 < late.std() < 10


def test_backbone_sees_colours_in_their_order():
    network = Backbone().eval()
    network.load_state_dict(imagenet_state())
    red = torch.zeros(1, 64, 64, 3, dtype=torch.uint8)
    red[..., 2] = 255
    with torch.no_grad():
        stem = network.early.stem((torch.tensor([255.0, 0, 0]).reshape(1, 3, 1, 1).expand(1, 3, 64, 64) - 127) / 128)
        expected = network.early.blocks[0](torch.nn.functional.relu6(stem))
        for block in network.early.blocks[1:]:
            expected = block(expected)
        torch.testing.assert_close(network.early(red), expected)


def test_calibration_follows_the_share_of_successes():
    rng = np.random.default_rng(0)
    raw = rng.uniform(-4, 4, 4000)
    truth = 1 / (1 + np.exp(-1.5 * raw))
    success = rng.random(4000) < truth
    curve = Calibration.fit(raw, success)
    assert (np.diff(curve.probability) >= 0).all()
    assert np.abs(curve(raw) - truth).mean() < 0.04
    assert calibration_error(curve(raw), success) < 0.03
    assert calibration_error(np.full(4000, 0.9), success) == pytest.approx(0.9 - success.mean(), abs=1e-6)


def test_calibration_error_by_hand():
    assert calibration_error([0.8] * 10, [1] * 8 + [0] * 2) == pytest.approx(0)
    assert calibration_error([0.95] * 4 + [0.15] * 4, [1, 1, 0, 0] + [0] * 4) == pytest.approx(0.3)
    assert calibration_error([1.0, 0.0], [1, 0]) == 0
    assert calibration_error([0.9, -1, np.nan], [1, 1, 0]) == pytest.approx(0.1)  # the latter two are no scores
    assert np.isnan(calibration_error([-1, np.nan], [1, 0]))


def test_success_is_counted_strictly_above_each_threshold():
    assert success_curve([0.35, 1.0]).tolist() == [1.0] * 7 + [0.5] * 13 + [0.0]  # 0.35 is not above 0.35
    assert success_curve([0.0]).tolist() == [0.0] * 21
    rng = np.random.default_rng(0)
    twentieths = rng.integers(0, 21, 500)  # overlaps that lie on thresholds, as float32 like those of `iou`
    expected = [(twentieths > k).mean() for k in range(21)]
    np.testing.assert_allclose(success_curve((twentieths / 20).astype(np.float32)), expected, atol=1e-6)


def test_calibration_is_level_outside_of_its_knots():
    curve = Calibration.from_card({"raw": [0.0, 2.0], "probability": [0.2, 0.8]})
    np.testing.assert_allclose(curve([-5, 0, 1, 2, 9]), [0.2, 0.2, 0.5, 0.8, 0.8], atol=1e-6)


@pytest.mark.parametrize(
    "card",
    [
        {},
        {"raw": [0.0], "probability": [0.5]},
        {"raw": [0.0, 1.0], "probability": [0.9, 0.1]},
        {"raw": [1.0, 1.0], "probability": [0.1, 0.9]},
        {"raw": [0.0, 1.0], "probability": [0.1, 1.9]},
    ],
)
def test_curves_that_are_none(card):
    with pytest.raises(ModelError):
        Calibration.from_card(card)
