import numpy as np

from deep_tracking_ros.visualization.contact_sheet import BAR, GAP, PALETTE, Cell, contact_sheet

NAN = np.full(4, np.nan, np.float32)


def box(*sides):
    return np.array(sides, np.float32)


def test_frames_stand_in_rows_below_a_legend():
    image = np.full((50, 100, 3), 100, np.uint8)
    rows = [[Cell(image, {"a": box(10, 10, 30, 30)})] * 3, [Cell(image[:, :50], {"b": box(10, 10, 30, 30)})] * 2]
    sheet = contact_sheet(rows, 200)
    assert sheet.shape == (BAR + 2 * GAP + 100 + 200, 3 * 200 + 2 * GAP, 3)
    # twice as large: the outer edge of pixel 10 is at 19, that of pixel 30 at 61
    first = sheet[BAR + GAP : BAR + GAP + 100, :200]
    drawn = np.argwhere((first == PALETTE[0]).all(2))
    assert abs(drawn.min(0) - 20.5).max() <= 1.5  # a line of two pixels
    assert abs(drawn.max(0) - 60.5).max() <= 1.5
    # the second name has the second colour, in the second row only
    second = (sheet == PALETTE[1]).all(2)
    assert not second[BAR : BAR + GAP + 100].any()
    assert second[BAR + GAP + 100 :].any()
    assert (first[5, 5] == 100).all()


def test_truth_is_white_where_there_is_one():
    image = np.full((50, 100, 3), 100, np.uint8)
    seen = Cell(image, {"a": box(0, 0, 5, 5)}, box(20, 20, 60, 40))
    unseen = Cell(image, {"a": box(0, 0, 5, 5)}, NAN)
    sheet = contact_sheet([[seen, unseen]], 100)
    left, right = sheet[BAR + GAP :, :100], sheet[BAR + GAP :, 100 + GAP :]
    assert (left[20, 21:60] == 255).all()
    assert not (right == 255).all(2).any()
