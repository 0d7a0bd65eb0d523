# Source this to use ROS 2 from the wheels in .venv, the interfaces in install/ and the modules of this checkout:
#   . scripts/env.sh
# Ours go before what is set already, so a ROS that was sourced earlier stays usable for whatever we do not bring.
# bash and zsh find this file from anywhere; other shells must be in the checkout's root.
if [ -n "${BASH_VERSION:-}" ]; then
    eval '_dtr_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)'
elif [ -n "${ZSH_VERSION:-}" ]; then
    eval '_dtr_root=$(cd "$(dirname "${(%):-%x}")/.." && pwd)'
else
    _dtr_root=$PWD
fi

# Puts a folder first in a colon-separated variable, once.
_dtr_prepend() {
    eval "_dtr_old=\${$1:-}"
    case ":$_dtr_old:" in
        "::") eval "export $1=\$2" ;;
        *":$2:"*) ;;
        *) eval "export $1=\$2:\$_dtr_old" ;;
    esac
}

_dtr_site=$_dtr_root/.venv/lib/python3.11/site-packages
_dtr_install=$_dtr_root/install/deep_tracking_ros
_dtr_prepend PATH "$_dtr_root/.venv/bin"
_dtr_prepend AMENT_PREFIX_PATH "$_dtr_root/.venv"
_dtr_prepend AMENT_PREFIX_PATH "$_dtr_install"
# PYTHONPATH comes before a venv's own packages: naming them keeps the rclpy of a sourced ROS from being mixed in.
case ":${PYTHONPATH:-}:" in
    "::" | *":$_dtr_root:"*) ;;
    *) _dtr_prepend PYTHONPATH "$_dtr_site" ;;
esac
_dtr_prepend PYTHONPATH "$_dtr_install/lib/python3.11/site-packages"
_dtr_prepend PYTHONPATH "$_dtr_root"
for _dtr_libraries in "$_dtr_site"/ros_*.libs; do
    _dtr_prepend LD_LIBRARY_PATH "$_dtr_libraries"
done
_dtr_prepend LD_LIBRARY_PATH "$_dtr_root/.venv/lib"
_dtr_prepend LD_LIBRARY_PATH "$_dtr_install/lib"
# The wheels restart every Python once to set LD_LIBRARY_PATH; it is set already, in an order that is certain.
export _ROS_WHEELS_BOOTSTRAP_COMPLETE=1
export ROS_VERSION=2 ROS_PYTHON_VERSION=3 ROS_DISTRO="${ROS_DISTRO:-jazzy}"
unset _dtr_root _dtr_site _dtr_install _dtr_libraries _dtr_old
unset -f _dtr_prepend
