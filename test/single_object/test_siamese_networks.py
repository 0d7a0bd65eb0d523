"""Networks of the siamese architectures: the same numbers from every backend, and weights and cards that fit."""

import dataclasses

import numpy as np
import onnx
import pytest
from safetensors.numpy import load_file, save_file
from untrained import HEADS

from deep_tracking_ros.errors import EngineError, ModelError
from deep_tracking_ros.inference.cache import EngineCache
from deep_tracking_ros.inference.export import onnx_model
from deep_tracking_ros.inference.factory import make_engine
from deep_tracking_ros.inference.parity import relative_difference
from deep_tracking_ros.inference.tensorrt_library import RTX, load_tensorrt
from deep_tracking_ros.models.store import Model
from deep_tracking_ros.single_object.golden import check_golden
from deep_tracking_ros.single_object.registry import ARCHITECTURES, make_tracker, networks

NETWORKS = {
    "goturn": {"template", "search"},
    "siamrpn": {"template", "search"},
    "mdnet": {"features", "pool"},
    "atom": {"template", "search", "overlap", "features"},
    "rpt": {"template", "search", "features"},
    "transt": {"template", "search"},
    "siammask": {"template", "search"},
}


def examples(model, batch, seed=0):
    """For each network of a model its inputs: crops, sizes and boxes at random, the rest from the networks before."""
    rng, known = np.random.default_rng(seed), {}
    for network in networks(model):
        for spec in network.inputs:
            shape = tuple(batch if n == -1 else n for n in spec.shape)
            if spec.dtype == np.uint8:
                known[spec.name] = rng.integers(0, 256, shape).astype(np.uint8)
            elif spec.name == "sizes":
                known[spec.name] = rng.uniform(10, 50, shape).astype(np.float32)
            elif spec.name == "boxes":
                first = rng.uniform(-20, 100, (batch, 7, 2))
                boxes = np.concatenate([first, first + rng.uniform(2, 80, (batch, 7, 2))], 2)
                known[spec.name] = boxes.astype(np.float32)
        inputs = {spec.name: known[spec.name] for spec in network.inputs}
        outputs = make_engine(network, "torch")(**inputs)
        known |= outputs
        yield network, inputs, outputs


def test_every_head_that_can_be_trained_is_an_architecture_with_its_networks(small_model):
    assert set(NETWORKS) == set(HEADS) <= set(ARCHITECTURES)
    for name, wanted in NETWORKS.items():
        assert {network.name for network in networks(small_model(name))} == {f"{name}/{part}" for part in wanted}


@pytest.mark.parametrize("name", HEADS)
def test_torch_and_onnxruntime_agree(small_model, name):
    """For one target and five, by one export with an open batch."""
    model = small_model(name)
    assert check_golden(model, "torch") < 1e-6
    assert check_golden(model, "onnxruntime") < 1e-4
    engines = {network.name: make_engine(network, "onnxruntime", threads=1) for network in networks(model)}
    for batch in (1, 5):
        for network, inputs, outputs in examples(model, batch):
            for spec in network.outputs:
                shape = outputs[spec.name].shape
                assert shape[0] == batch
                assert all(s in (-1, n) for s, n in zip(spec.shape, shape, strict=True)), (network.name, spec, shape)
            assert relative_difference(engines[network.name](**inputs), outputs) < 1e-4, network.name


@pytest.mark.parametrize("name", HEADS)
def test_exports_leave_the_batch_open(small_model, name, tmp_path):
    for network in networks(small_model(name)):
        graph = onnx.load_from_string(onnx_model(network, EngineCache(tmp_path))).graph
        for value in (*graph.input, *graph.output):
            assert value.type.tensor_type.shape.dim[0].dim_param, f"{network.name}: {value.name} has a fixed batch"


@pytest.mark.slow
@pytest.mark.parametrize("name", HEADS)
def test_tensorrt_takes_the_networks(small_model, name, tmp_path):
    try:
        trt = load_tensorrt(RTX)
    except EngineError as error:
        pytest.skip(f"TensorRT-RTX is not here ({error}); install the extra 'rtx'")
    from deep_tracking_ros.inference.builder import build_plan

    for network in networks(small_model(name)):
        exported = onnx_model(network, EngineCache(tmp_path))
        assert len(build_plan(trt, network, exported, "fp16", compute_capability="SM89")) > 1000


def with_card(model, **changes):
    return Model(model.folder, dataclasses.replace(model.card, **changes))


def with_weights(model, folder, change):
    """A copy of a model whose dictionary of weights was changed."""
    weights = load_file(model.weights)
    change(weights)
    save_file(weights, folder / "model.safetensors")
    return Model(folder, model.card)


def load_all(model):
    for network in networks(model):
        network.module()
    make_tracker(model, "torch")


@pytest.mark.parametrize("name", HEADS)
def test_weights_of_another_width_are_refused_by_key(small_model, name):
    model = small_model(name)
    wide = with_card(model, parameters={**model.card.parameters, "channels": 24})
    with pytest.raises(ModelError, match=rf"model '{name}' do not fit the architecture '{name}': .*head\.\S+ is \["):
        load_all(wide)


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("part", ["head.", "backbone."])
def test_missing_strange_and_broken_weights_are_refused_by_key(small_model, tmp_path, name, part):
    model = small_model(name)
    key = next(key for key in sorted(model.state()) if key.startswith(part))

    def broken(weights):
        weights[key] = np.full_like(weights[key], np.nan)

    for change, words in (
        (lambda weights: weights.pop(key), f"{key} is missing"),
        (lambda weights: weights.update({f"{part}extra": np.ones(3, np.float16)}), f"{part}extra is not part of it"),
        (broken, f"{key} holds values that are not finite"),
    ):
        with pytest.raises(ModelError, match=f"{name}.*{words}"):
            load_all(with_weights(model, tmp_path, change))


COMMON = [
    ("parameters", {"channels": 0}),
    ("parameters", {"template": 63}),
    ("parameters", {"search": 24}),
    ("parameters", {"search": 40}),
    ("parameters", {"chanels": 16}),
    ("tracking", {"nonsense": 1}),
    ("calibration", {"raw": [1.0, 0.0]}),
]
OWN = {
    "goturn": [("parameters", {"search": 128}), ("tracking", {"hold": 1e6})],
    "siamrpn": [("tracking", {"penalty": -1.0}), ("tracking", {"window_influence": 2.0})],
    "mdnet": [("tracking", {"candidates": 4}), ("tracking", {"candidates": 1000}), ("tracking", {"update_every": 0})],
    "atom": [("tracking", {"boxes": 0}), ("tracking", {"not_found": 2.0}), ("tracking", {"step": 0.0})],
    "rpt": [("tracking", {"online": 1.5}), ("parameters", {"deformable": 3}), ("tracking", {"learn_from": "all"})],
    "transt": [("parameters", {"heads": 3}), ("parameters", {"layers": 0})],
    "siammask": [("tracking", {"zoom": 0.5}), ("tracking", {"zoom": 3.0}), ("tracking", {"agreement": 1.1})],
}


@pytest.mark.parametrize(("name", "key", "change"), [(n, k, c) for n in HEADS for k, c in (*COMMON, *OWN[n])])
def test_cards_that_make_no_sense_are_refused(small_model, name, key, change):
    model = small_model(name)
    changed = with_card(model, **{key: {**getattr(model.card, key), **change}})
    with pytest.raises(ModelError, match="|".join(change)):
        make_tracker(changed, "torch")


def test_an_unknown_architecture_lists_the_known(small_model):
    with pytest.raises(ModelError, match=f"known are: {', '.join(sorted(ARCHITECTURES))}"):
        make_tracker(with_card(small_model("siamrpn"), architecture="siamrpm"))
