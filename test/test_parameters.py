from dataclasses import dataclass, fields

import pytest

from deep_tracking_ros.detection import lidar
from deep_tracking_ros.detection.parts import ground
from deep_tracking_ros.errors import InvalidRequestError
from deep_tracking_ros.multi_object import fusion, tracker, tracker_3d
from deep_tracking_ros.parameters import REQUIRED, declared, make_parameters, parameter, part
from deep_tracking_ros.pipelines.registry import PIPELINES


@dataclass(frozen=True)
class Settings:
    mode: str = parameter("fast", "How to run.", choices=("fast", "good"))
    rate: float = parameter(10.0, "Results per second.", unit="Hz", minimum=0.5, maximum=60)
    number: int = parameter(4, "How many.", minimum=1)
    on: bool = parameter(True, "Whether at all.")


def test_declarations_are_complete_and_in_order():
    names = [p.name for p in declared(Settings)]
    assert names == ["mode", "rate", "number", "on"]
    rate = list(declared(Settings()))[1]
    assert (rate.type, rate.default, rate.unit, rate.minimum, rate.maximum) == (float, 10.0, "Hz", 0.5, 60)


def test_values_are_taken_in_their_declared_type():
    settings = make_parameters(Settings, {"rate": 5, "mode": "good"})
    assert settings == Settings(mode="good", rate=5.0)
    assert type(settings.rate) is float


def test_a_part_takes_what_has_its_names_and_keeps_its_other_defaults():
    @dataclass(frozen=True)
    class Motor:
        rate: float = 1.0
        torque: float = 2.0
        gears: tuple[int, ...] = ()

    assert part(Motor, Settings(rate=20.0)) == Motor(20.0, 2.0, ())
    assert part(Motor, Settings(), gears=(1, 2)) == Motor(10.0, 2.0, (1, 2))


@pytest.mark.parametrize(
    ("pipeline", "kind", "fixed"),
    [
        ("multi_object_tracker", tracker.Settings, {"duplicate_overlap", "direction", "mend_steps", "noise"}),
        ("multi_object_tracker_3d", tracker_3d.Tracker3DParameters, set()),
        ("lidar_proposals", lidar.LidarSettings, {"cell", "ground"}),
        ("lidar_proposals", ground.GroundSettings, {"thickness", "step", "bend"}),
        ("fusion", fusion.FusionSettings, {"visible"}),
    ],
)
def test_parts_of_pipelines_have_the_names_and_defaults_of_their_parameters(pipeline, kind, fixed):
    own, common = kind(), {p.name: p.default for p in declared(PIPELINES[pipeline].Parameters)}
    names = {field.name for field in fields(kind)}
    assert names - set(common) == fixed
    assert {name: getattr(own, name) for name in names - fixed} == {name: common[name] for name in names - fixed}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"mode": "slow"}, "mode is 'slow', it must be one of fast, good"),
        ({"rate": 0.4}, r"rate is 0\.4, it must be from 0\.5 to 60 Hz$"),
        ({"rate": 61}, "from 0.5 to 60 Hz$"),
        ({"rate": float("nan")}, "rate is nan, it must be finite"),
        ({"rate": True}, "rate is True, it must be a float"),
        ({"number": 1.5}, "number is 1.5, it must be an int"),
        ({"number": 0}, "from 1 to inf$"),
        ({"on": 1}, "on is 1, it must be a bool"),
        ({"mode": "fast", "speed": 1}, r"unknown parameters \['speed'\]; known are mode, number, on, rate"),
    ],
)
def test_wrong_values_are_named_with_their_limits(values, words):
    with pytest.raises(InvalidRequestError, match=words):
        make_parameters(Settings, values)


def test_a_required_parameter_has_to_be_given():
    @dataclass(frozen=True)
    class Needs:
        size: int = parameter(REQUIRED, "Has no default.", minimum=1)
        rate: float = parameter(2.0, "Has one.")

    assert make_parameters(Needs, {"size": 3}) == Needs(3, 2.0)
    with pytest.raises(InvalidRequestError, match=r"there are no parameters \['size'\]; they have no defaults"):
        make_parameters(Needs, {"rate": 1.0})
