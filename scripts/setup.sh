#!/usr/bin/env bash
# Sets up this checkout: Debian packages, .venv/ with pinned wheels (ROS 2 Jazzy among them), install/ with the built
# interfaces, and the command .venv/bin/deep-tracking. What is done is skipped; logs of the stages are in log/setup/.
#   scripts/setup.sh         what the package needs at run time
#   scripts/setup.sh dev     and the tools for tests and lint
#   scripts/setup.sh lidar   and Open3D, which may group points in place of scipy (0.5 GB)
#   scripts/setup.sh rtx     and TensorRT-RTX, which builds engines on machines without a GPU too (NVIDIA's licence)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
extras=" $* "
venv=$root/.venv
python=$venv/bin/python
log=$root/log/setup
mkdir -p "$log"
# Another environment's settings must not leak into this one.
unset PYTHONPATH PYTHONHOME VIRTUAL_ENV _ROS_WHEELS_BOOTSTRAP_COMPLETE

say() { printf '%-54s' "$1"; }
stop() {
    printf '\nerror: %s\n' "$1" >&2
    exit 1
}

# hash FILE|FOLDER...: one number for the contents and names of files.
hash() { find "$@" -type f -not -name '*.pyc' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -c1-16; }

# done_before STAMP KEY: true if the stamp holds this key. A stamp lies beside what it stands for and goes with it.
done_before() { [ -f "$1" ] && [ "$(cat "$1")" = "$2" ]; }

# stage TITLE STAMP KEY COMMAND...: runs the command unless the stamp holds the key; a failure shows the log's end.
stage() {
    local title=$1 stamp=$2 key=$3 file start=$SECONDS
    shift 3
    say "$title"
    if done_before "$stamp" "$key"; then
        echo "as before"
        return
    fi
    file=$log/$1.log
    if ! "$@" >"$file" 2>&1; then
        printf 'failed after %d s\n' $((SECONDS - start))
        tail -n 40 "$file" >&2
        stop "'$title' failed; the whole log is in ${file#"$root"/}"
    fi
    mkdir -p "$(dirname "$stamp")"
    echo "$key" >"$stamp"
    echo "$((SECONDS - start)) s"
}

# ---- Python 3.11: the ROS 2 wheels and the pins are for it
base_python() {
    local candidate
    for candidate in python3.11 python3; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
            "$candidate" -c 'import sys; print(sys._base_executable)' # also from within an active environment
            return
        fi
    done
    stop "Python 3.11 is needed (Debian 12 has it as python3), but python3 is $(python3 --version 2>&1 || true)"
}

# ---- Debian packages, each asked for only if the thing that it brings is not there
missing_packages() {
    local libraries
    libraries=$(PATH=$PATH:/sbin:/usr/sbin ldconfig -p)
    need() { if ! eval "$1" >/dev/null 2>&1; then echo "$2"; fi; }
    need "command -v g++" g++
    need "command -v cmake" cmake
    need "command -v ninja" ninja-build
    need "\"$1\" -c 'import ensurepip, venv'" python3.11-venv
    need "[ -f \"\$(\"$1\" -c 'import sysconfig; print(sysconfig.get_path(\"include\"))')/Python.h\" ]" python3.11-dev
    # OpenCV's wheel with windows and PyAV's.
    need "grep -q libGL.so.1 <<<\"\$libraries\"" libgl1
    need "grep -q libgthread-2.0.so.0 <<<\"\$libraries\"" libglib2.0-0
    need "grep -q libxcb.so.1 <<<\"\$libraries\"" libxcb1
    need "grep -q libSM.so.6 <<<\"\$libraries\"" libsm6
    need "grep -q libXext.so.6 <<<\"\$libraries\"" libxext6
    if [[ $extras == *" lidar "* ]]; then # Open3D's wheel
        need "grep -q libusb-1.0.so.0 <<<\"\$libraries\"" libusb-1.0-0
        need "grep -q libgomp.so.1 <<<\"\$libraries\"" libgomp1
    fi
}

debian_packages() {
    local as_root=()
    if [ "$(id -u)" != 0 ]; then as_root=(sudo); fi
    export DEBIAN_FRONTEND=noninteractive
    "${as_root[@]}" apt-get -q update
    "${as_root[@]}" apt-get -q install -y --no-install-recommends "$@"
}

# ---- Python environment
make_venv() {
    # A moved environment is a broken one: its scripts name the old place.
    if [ "$(head -n 1 "$venv/bin/pip" 2>/dev/null)" != "#!$python" ]; then rm -rf "$venv"; fi
    "$1" -m venv "$venv"
}

# -qq shows errors only.
install_wheels() {
    "$python" -m pip install -qq --disable-pip-version-check --no-input -c requirements/constraints.txt "$@"
}

ros_wheels() {
    install_wheels -r requirements/ros-jazzy.txt numpy
    # Some of these wheels name include folders of the machine that built them, which CMake refuses.
    { grep -rlE '"/opt/python/' "$venv"/share/*/cmake || true; } |
        xargs -r sed -i -E '/INTERFACE_INCLUDE_DIRECTORIES "\/opt\/python\//s#"[^"]*"#""#'
}

runtime_wheels() { install_wheels -r requirements/runtime.txt; }

dev_wheels() {
    install_wheels -r requirements/dev.txt
    install_wheels --no-deps -r requirements/no-deps.txt
}

lidar_wheels() { install_wheels -r requirements/lidar.txt; }

rtx_wheels() { install_wheels --no-deps -r requirements/rtx.txt; }

# ---- this package
build_package() {
    local built_from
    built_from=$(cat install/.interfaces 2>/dev/null || true)
    # Changed interfaces leave files of the old ones behind, and CMake does not survive a move of the checkout.
    if [ "$built_from" != "$interfaces" ]; then rm -rf build install; fi
    export PATH=$venv/bin:$PATH AMENT_PREFIX_PATH=$venv CMAKE_PREFIX_PATH=$venv VIRTUAL_ENV=$venv
    # Links instead of copies: a change of a module needs no build.
    "$python" -m colcon --log-base log build --symlink-install --event-handlers console_direct+ --cmake-args \
        -G Ninja -DCMAKE_BUILD_TYPE=MinSizeRel -DBUILD_TESTING=OFF -DDTR_PYTHON_ONLY=ON -DPython3_EXECUTABLE="$python"
    echo "$interfaces" >install/.interfaces
}

command_file() {
    cat >"$venv/bin/deep-tracking" <<'COMMAND'
#!/usr/bin/env bash
# Written by scripts/setup.sh. Runs the checkout's command from any folder, with nothing sourced.
root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.." && pwd)
. "$root/scripts/env.sh"
exec "$root/.venv/bin/python" -P -m deep_tracking_ros.cli.main "$@"
COMMAND
    chmod +x "$venv/bin/deep-tracking"
}

exec 9>"$log/lock"
flock --nonblock 9 || { echo "waiting for another set-up of this checkout"; flock 9; }

base=$(base_python)
packages=$(missing_packages "$base" | tr '\n' ' ')
if [ -n "$packages" ]; then
    if ! command -v apt-get >/dev/null; then
        stop "these Debian packages, or what your system calls them, are missing: $packages"
    elif [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
        stop "packages are missing and sudo is too; as root run: apt-get install $packages"
    fi
    # shellcheck disable=SC2086 # a list of words
    stage "Debian packages: $packages" /nonexistent always debian_packages $packages
fi

stage "Python environment (.venv)" "$venv/.setup/venv" "$base $venv" make_venv "$base"
stage "ROS 2 Jazzy wheels" "$venv/.setup/ros" "$(hash requirements/ros-jazzy.txt requirements/constraints.txt)" ros_wheels

# The build needs only the ROS wheels, so it shares the time with the other downloads.
interfaces=$root-$(hash msg srv action CMakeLists.txt requirements/ros-jazzy.txt)
names=$(find deep_tracking_ros launch config rviz scripts -type f -not -name '*.pyc' | LC_ALL=C sort | sha256sum)
layout=$interfaces-$(hash package.xml)-${names:0:16}
stage "Interfaces and package (install)" "install/.layout" "$layout" build_package >"$log/build.title" &
build=$!
stage "Wheels: OpenCV, torch, ONNX Runtime, ..." "$venv/.setup/runtime" \
    "$(hash requirements/runtime.txt requirements/constraints.txt)" runtime_wheels
wait "$build" || { cat "$log/build.title"; exit 1; }
cat "$log/build.title"
for extra in "$@"; do
    case $extra in
        dev) stage "Wheels: tests and lint" "$venv/.setup/dev" \
            "$(hash requirements/dev.txt requirements/no-deps.txt requirements/constraints.txt)" dev_wheels ;;
        lidar) stage "Wheels: Open3D" "$venv/.setup/lidar" \
            "$(hash requirements/lidar.txt requirements/constraints.txt)" lidar_wheels ;;
        rtx) stage "Wheels: TensorRT-RTX" "$venv/.setup/rtx" "$(hash requirements/rtx.txt)" rtx_wheels ;;
        *) stop "unknown extra '$extra'; there are: dev, lidar, rtx" ;;
    esac
done
stage "Command (.venv/bin/deep-tracking)" "$venv/.setup/command" "$(hash scripts/setup.sh)" command_file
