import subprocess
import sys

CODE = """
import resource, sys
from deep_tracking_ros.ros.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
source = b"x" * (6 << 20)


def images():
    held = [bytearray(source) for _ in range(4)]
for _ in range(5):
    images()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    images()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def new_pages(mode):
    done = subprocess.run([sys.executable, "-c", CODE, mode], capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_memory_of_freed_images_is_used_again():
    assert new_pages("keep") < 1000
    assert new_pages("leave") > 10_000  # else the setting is not needed any more
