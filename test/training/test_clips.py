import cv2
import numpy as np

from deep_tracking_ros.training.clips import load_clips


def test_images_and_masks_are_taken_in_the_order_of_their_numbers(tmp_path):
    folder = tmp_path / "cup"
    for part in ("img", "mask"):
        (folder / part).mkdir(parents=True)
        for number in (1, 2, 10, 11):
            cv2.imwrite(str(folder / part / f"{number}.png"), np.full((8, 8, 3), number, np.uint8))
    (folder / "boxes.txt").write_text("1,1,4,4\n" * 4)
    (clip,) = load_clips([tmp_path]).clips
    assert [path.stem for path in clip.frames] == ["1", "2", "10", "11"]
    assert [path.stem for path in clip.masks] == ["1", "2", "10", "11"]
