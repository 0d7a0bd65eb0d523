import shutil

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import small_siamese
from onnx import TensorProto, helper, numpy_helper
from small_siamese import save_pair
from typer.testing import CliRunner

from deep_tracking_ros.errors import DataError, ModelError
from deep_tracking_ros.geometry.boxes import iou
from deep_tracking_ros.models.store import find_model
from deep_tracking_ros.single_object.golden import check_golden
from deep_tracking_ros.single_object.importing import import_public
from deep_tracking_ros.single_object.onnx_surgery import _add_images, _add_outputs, _logits, _unfold_correlations
from deep_tracking_ros.single_object.parts.calibration import Calibration
from deep_tracking_ros.single_object.public_kinds import KINDS
from deep_tracking_ros.single_object.registry import make_tracker

FILES = {
    "nanotrack_v2": ("nanotrackv2/nanotrack_backbone_sim.onnx", "nanotrackv2/nanotrack_head_sim.onnx"),
    "nanotrack_v3": ("nanotrackv3/nanotrack_backbone.onnx", "nanotrackv3/nanotrack_head.onnx"),
    "fear_xs": ("fear_xs/fear_xs_backbone.onnx", "fear_xs/fear_xs_head.onnx"),
}


def session(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    model = model.SerializeToString() if isinstance(model, onnx.ModelProto) else str(model)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run(of, *arrays):
    """Outputs by name for inputs in their order."""
    names = [value.name for value in of.get_outputs()]
    return dict(
        zip(names, of.run(names, {i.name: a for i, a in zip(of.get_inputs(), arrays, strict=True)}), strict=True)
    )


@pytest.fixture(scope="module", params=list(FILES))
def imported(request, reference, tmp_path_factory):
    files = [reference("weights") / file for file in FILES[request.param]]
    return request.param, files, import_public(request.param, *files, tmp_path_factory.mktemp("models"), request.param)


def test_the_imported_networks_compute_what_the_files_compute(imported):
    name, (backbone, head), model = imported
    kind, golden = KINDS[name], model.golden()
    crops, template = golden["siamese_box/search.crops"], golden["siamese_box/template.features"]
    planes = np.ascontiguousarray(crops.transpose(0, 3, 1, 2)[:, :: -1 if kind.rgb else 1], np.float32)
    features = session(backbone).run(None, {kind.image: planes})[0]
    heads = session(head)
    names = [kind.scores, kind.distances]
    scores, distances = heads.run(names, {kind.template: template, kind.search: features})
    logits = scores[:, 1] - scores[:, 0] if kind.classes == 2 else scores[:, 0]

    ours = session(model.folder / "search.onnx")
    for batch in (1, 3):
        repeated = {"crops": np.repeat(crops, batch, 0), "features": np.repeat(template, batch, 0)}
        found = ours.run(["logits", "distances"], repeated)
        for seen, expected in zip(found, (logits, distances), strict=True):
            assert len(seen) == batch
            assert np.abs(seen - expected).max() < 1e-5 * np.abs(expected).max()


def test_an_imported_tracker_follows_a_textured_patch(imported):
    _, _, model = imported
    tracker = make_tracker(model, backend="onnxruntime", threads=1)
    rng = np.random.default_rng(3)
    background = cv2.resize(rng.integers(90, 160, (12, 16, 3)).astype(np.uint8), (320, 240))
    patch = cv2.resize(rng.integers(0, 256, (5, 5, 3)).astype(np.uint8), (48, 40), interpolation=cv2.INTER_CUBIC)

    def frame(left, top):
        image = background.copy()
        image[top : top + 40, left : left + 48] = patch
        return image, np.array([left, top, left + 48, top + 40], np.float32) - 0.5

    image, box = frame(100, 80)
    targets = tracker.start(image, [box])
    for step in range(1, 11):
        image, box = frame(100 + 5 * step, 80 + 3 * step)
        (estimate,) = tracker.track(image, targets)
        assert iou(estimate.box, box) > 0.6, f"step {step}"
    assert check_golden(model, "onnxruntime") < 1e-4


def test_cards_say_where_a_model_comes_from_and_how_its_score_was_measured(imported):
    name, _, model = imported
    card = find_model(str(model.folder), "single_object").card
    assert (card.name, card.architecture) == (name, "siamese_box")
    assert card.licence
    assert "github.com/" in card.origin
    assert 0 < card.thresholds["lost"] < card.thresholds["tracked"] < 1
    assert card.results["calibration"]["calibration_error"] < 0.1
    curve = Calibration.from_card(card.calibration)
    assert curve(-20) < 0.3
    assert curve(20) > 0.7


@pytest.mark.parametrize("name", list(KINDS))
def test_each_kind_has_a_curve_and_thresholds(name):
    kind = KINDS[name]
    Calibration.from_card(kind.calibration)
    assert 0 < kind.thresholds["lost"] < kind.thresholds["tracked"] < 1


def test_correlation_with_run_time_kernels_takes_any_batch():
    """As in NanoTrack V3: one group per channel, the template as weights. OpenCV's filter2D gives the expected."""
    channels, side, kernel, cells = 5, 8, 4, 7
    nodes = [
        helper.make_node("Reshape", ["z", "groups"], ["weights"]),
        helper.make_node("Conv", ["x", "weights"], ["y"], group=channels, pads=[1, 1, 1, 1]),
    ]
    shapes = {"z": ["b", channels, kernel, kernel], "x": ["b", channels, side, side]}
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["b", channels, cells, cells])]
    groups = numpy_helper.from_array(np.array([channels, 1, kernel, kernel]), "groups")
    graph = helper.make_graph(nodes, "correlation", inputs, outputs, [groups])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=7)
    rng = np.random.default_rng(0)
    z = rng.normal(size=(3, channels, kernel, kernel)).astype(np.float32)
    x = rng.normal(size=(3, channels, side, side)).astype(np.float32)
    alone = np.concatenate([run(session(model), z[[i]], x[[i]])["y"] for i in range(3)])
    _unfold_correlations(model, cells)
    assert not any(node.op_type == "Conv" for node in model.graph.node)
    together = run(session(model), z, x)["y"]
    np.testing.assert_allclose(together, alone, atol=1e-5)
    padded = np.pad(x[2, 4], 1)
    by_opencv = cv2.filter2D(padded, -1, z[2, 4], anchor=(0, 0), borderType=cv2.BORDER_CONSTANT)[:cells, :cells]
    np.testing.assert_allclose(together[2, 4], by_opencv, atol=1e-5)


@pytest.mark.parametrize("rgb", [False, True])
@pytest.mark.parametrize("plain", [True, False])
def test_a_first_convolution_reads_pixels_as_they_lie(rgb, plain):
    """Strides, pads and a kernel that differ by axis; where colours cannot be folded, planes are made."""
    size, rng = 23, np.random.default_rng(0)
    kernel = rng.normal(size=(4, 3, 3, 5)).astype(np.float32)
    attributes = {"strides": [2, 3], "pads": [1, 2, 0, 1], "dilations": [1, 1] if plain else [2, 1]}
    shapes = {"image": ["b", 3, size, size], "y": ["b", 4, "h", "w"]}
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    node = helper.make_node("Conv", ["image", "kernel"], ["y"], **attributes)
    graph = helper.make_graph([node], "conv", values[:1], values[1:], [numpy_helper.from_array(kernel, "kernel")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=7)
    crops = rng.integers(0, 256, (2, size, size, 3)).astype(np.uint8)
    planes = np.ascontiguousarray(crops.transpose(0, 3, 1, 2)[:, :: -1 if rgb else 1], np.float32)
    expected = run(session(model), planes)["y"]
    _add_images(model, "image", size, rgb)
    onnx.checker.check_model(model)
    assert any(node.op_type == "Transpose" for node in model.graph.node) is not plain
    np.testing.assert_allclose(run(session(model), crops)["y"], expected, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("last", ["Conv", "Mul"])
def test_scores_of_two_classes_become_one_logit(last):
    """By the convolution that makes them, or after whatever else makes them."""
    rng = np.random.default_rng(0)
    shape = (2, 6, 1, 1) if last == "Conv" else (1, 2, 1, 1)
    weights = {"w": rng.normal(size=shape).astype(np.float32), "b": np.array([0.5, -2], np.float32)}
    nodes = [helper.make_node(last, ["x", "w", "b"] if last == "Conv" else ["x", "w"], ["scores"])]
    values = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", shape[1], 5, 5]),
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 2, 5, 5]),
    ]
    known = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "head", values[:1], values[1:], known)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=7)
    x = rng.normal(size=(3, shape[1], 5, 5)).astype(np.float32)
    scores = run(session(model), x)["scores"]
    _add_outputs(model, _logits(model, "scores", 2, 5), {"logits": [5, 5]})
    onnx.checker.check_model(model)
    logits = run(session(model), x)["logits"]
    assert logits.shape == (3, 5, 5)
    np.testing.assert_allclose(logits, scores[:, 1] - scores[:, 0], atol=1e-5)


@pytest.fixture
def pair(tmp_path):
    return save_pair(tmp_path)


def test_an_unknown_kind_lists_the_known_ones(pair, tmp_path):
    with pytest.raises(ModelError, match=r"nanotrack_v9.*nanotrack_v2, nanotrack_v3, fear_xs"):
        import_public("nanotrack_v9", *pair, tmp_path, "m")


def test_files_of_another_kind_are_refused_by_name_and_leave_nothing(pair, tmp_path):
    backbone, head = pair
    models = tmp_path / "models"
    with pytest.raises(ModelError, match=r"head\.onnx is no backbone of nanotrack_v2: its inputs are input1 1x48x8x8"):
        import_public("nanotrack_v2", head, backbone, models, "m")
    with pytest.raises(ModelError, match=r"no backbone of nanotrack_v3: its outputs are output 1x48x16x16.*\?x96"):
        import_public("nanotrack_v3", backbone, head, models, "m")
    with pytest.raises(ModelError, match=r"no backbone of fear_xs: its inputs are input 1x3x255x255.*image \?x3"):
        import_public("fear_xs", backbone, head, models, "m")
    onnx.save(small_siamese.head(names=("input1", "input2", "cls", "output2")), tmp_path / "renamed.onnx")
    with pytest.raises(ModelError, match=r"renamed\.onnx is no head .*cls 1x2x16x16.*should be output1"):
        import_public("nanotrack_v2", backbone, tmp_path / "renamed.onnx", models, "m")
    assert not models.exists() or not list(models.iterdir())


def test_files_that_cannot_be_read_are_refused(pair, tmp_path):
    backbone, head = pair
    with pytest.raises(ModelError, match=r"cannot read the ONNX file .*nowhere\.onnx"):
        import_public("nanotrack_v2", tmp_path / "nowhere.onnx", head, tmp_path, "m")
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(backbone.read_bytes()[:999])
    with pytest.raises(ModelError, match=r"cannot read the ONNX file .*cut\.onnx"):
        import_public("nanotrack_v2", cut, head, tmp_path, "m")


def test_networks_that_do_not_run_are_refused(pair, tmp_path):
    backbone, _ = pair
    wrong = small_siamese.head()
    node = next(node for node in wrong.graph.node if node.op_type == "Reshape")
    shape = next(tensor for tensor in wrong.graph.initializer if tensor.name == node.input[1])
    shape.CopyFrom(numpy_helper.from_array(np.array([1, 47, 1, 1]), shape.name))
    onnx.save(wrong, tmp_path / "wrong.onnx")
    with pytest.raises(ModelError, match="do not run"):
        import_public("nanotrack_v2", backbone, tmp_path / "wrong.onnx", tmp_path / "models", "m")
    assert not list((tmp_path / "models").iterdir())


def test_a_name_is_taken_once(pair, tmp_path):
    first = import_public("nanotrack_v2", *pair, tmp_path / "models", "m")
    with pytest.raises(ModelError, match="already"):
        import_public("nanotrack_v2", *pair, tmp_path / "models", "m")
    again = import_public("nanotrack_v2", *pair, tmp_path / "models", "m", replace=True)
    assert again.digest == first.digest
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["m"]
    with pytest.raises(ModelError, match="a folder can have"):
        import_public("nanotrack_v2", *pair, tmp_path / "models", "../m")


def test_import_from_the_command_line(pair, tmp_path):
    from deep_tracking_ros.cli.models import app

    backbone, head = map(str, pair)
    call = ["import", "--kind", "nanotrack_v2", "--backbone", backbone, "--into", str(tmp_path / "models")]
    missing = CliRunner().invoke(app, call)
    assert "--head" in str(missing.exception)
    done = CliRunner().invoke(app, [*call, "--head", head, "--name", "mine"])
    assert done.exit_code == 0, done.output
    folder = tmp_path / "models" / "mine"
    assert find_model(str(folder)).card.name == "mine"
    exported = CliRunner().invoke(app, ["export", str(folder), str(tmp_path / "out")])
    assert exported.exit_code == 0, exported.output
    assert (tmp_path / "out" / "siamese_box_search.onnx").read_bytes() == (folder / "search.onnx").read_bytes()


def test_calibrate_from_the_command_line(pair, tmp_path):
    """On clips that the tracker follows, a high confidence becomes a high score; the card keeps what it was."""
    from deep_tracking_ros.cli.models import app

    rng = np.random.default_rng(0)
    for number, colour in enumerate([(20, 30, 230), (230, 60, 20)]):
        clip = tmp_path / "video" / f"clip{number}"
        (clip / "img").mkdir(parents=True)
        boxes = []
        for frame in range(14):
            image = np.full((160, 240, 3), (110, 120, 100), np.uint8) + rng.integers(0, 5, (160, 240, 1)).astype(
                np.uint8
            )
            left, top = 60 + 3 * frame, 50 + 2 * frame
            image[top : top + 32, left : left + 32] = colour
            cv2.imwrite(str(clip / "img" / f"{frame:04d}.png"), image)
            boxes.append(f"{left},{top},32,32")
        (clip / "boxes.txt").write_text("\n".join(boxes) + "\n")
    model = import_public("nanotrack_v2", *pair, tmp_path / "models", "tiny")
    command = ["calibrate", str(model.folder), "--video", str(tmp_path / "video")]
    unknown = CliRunner().invoke(app, [*command, "--clips", "clip0,clip9"])
    assert "clip9" in str(unknown.exception)
    before = (model.folder / "card.yaml").read_bytes()
    short = tmp_path / "short" / "clip"
    shutil.copytree(tmp_path / "video" / "clip0", short)
    for image in sorted((short / "img").iterdir())[2:]:
        image.unlink()
    (short / "boxes.txt").write_text("60,50,32,32\n63,52,32,32\n")
    too_short = CliRunner().invoke(app, ["calibrate", str(model.folder), "--video", str(tmp_path / "short")])
    assert isinstance(too_short.exception, DataError)
    assert (model.folder / "card.yaml").read_bytes() == before
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    card = find_model(str(model.folder)).card
    assert card.results["calibration"]["clips"] == ["clip0", "clip1"]
    assert card.results["calibration"]["frames_without_target"] > 0
    curve = Calibration.from_card(card.calibration)
    assert curve(10) > 0.5 > curve(-10)
    assert card.origin == model.card.origin
