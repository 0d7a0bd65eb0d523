"""NanoTrack's tracking procedure for one target in plain double precision, as its source publishes it.

Written from the procedure (H. Chu, github.com/HonglinChu/SiamTrackers, NanoTrack V2 and V3) and from what it goes back
to, SiamFC's crops and SiamRPN's choice of one box. It differs from the source in two places, where the source loses
parts of pixels and `siamese_box` does not:

- a box's centre is that of its rectangle when the target starts, too; the source starts half a pixel off;
- a box comes back to the image from the window of whole pixels that was really cut, not from the one that was wanted.
"""

import cv2
import numpy as np
import onnx
import onnxruntime


class NanoReference:
    """One target; boxes are left, top, width, height, where the first pixel of the image covers 0 to 1."""

    template_size, search_size, stride, context = 127, 255, 16, 0.5

    def __init__(self, backbone, head, cells, window_influence, penalty, size_rate, smallest):
        self.backbone, self.head = _session(backbone), _session(head)
        self.cells, self.smallest = cells, smallest
        self.window_influence, self.penalty, self.size_rate = window_influence, penalty, size_rate

    def start(self, image, rectangle):
        left, top, width, height = (float(value) for value in rectangle)
        self.x, self.y, self.w, self.h = left + width / 2, top + height / 2, width, height
        self.colour = [int(value) for value in image.reshape(-1, 3).mean(0)]
        crop, *_ = self.cut(image, self.side(self.w, self.h), self.template_size)
        (self.template,) = self.backbone.run(None, {"input": crop})

    def track(self, image):
        side = self.side(self.w, self.h)
        crop, left, top, cut = self.cut(image, side * self.search_size / self.template_size, self.search_size)
        (search,) = self.backbone.run(None, {"input": crop})
        scores, distances = self.head.run(["output1", "output2"], {"input1": self.template, "input2": search})
        scores, distances = scores[0].astype(float), distances[0].astype(float)
        zoom = self.search_size / cut  # crop px per image px
        last_w, last_h = self.w * zoom, self.h * zoom

        best = None
        hann = [0.5 - 0.5 * np.cos(2 * np.pi * i / (self.cells - 1)) for i in range(self.cells)]
        for row in range(self.cells):
            for column in range(self.cells):
                background, target = scores[:, row, column]
                probability = 1 / (1 + np.exp(background - target))  # softmax
                to_left, to_top, to_right, to_bottom = distances[:, row, column]
                w, h = to_left + to_right, to_top + to_bottom
                scale = self.change(self.side(w, h) / self.side(last_w, last_h))
                ratio = self.change((last_w / last_h) / (w / h))
                penalty = np.exp(-self.penalty * (scale * ratio - 1))
                ranked = penalty * probability * (1 - self.window_influence)
                ranked += hann[row] * hann[column] * self.window_influence
                if best is None or ranked > best[0]:
                    # px of the crop from its middle: cells lie around it, one more before than behind if they are even
                    x = self.stride * (column - self.cells // 2) + (to_right - to_left) / 2
                    y = self.stride * (row - self.cells // 2) + (to_bottom - to_top) / 2
                    best = ranked, x, y, w, h, penalty * probability * self.size_rate

        _, x, y, w, h, rate = best
        height, width = image.shape[:2]
        self.x = min(max(left + cut / 2 + x / zoom, 0), width)
        self.y = min(max(top + cut / 2 + y / zoom, 0), height)
        self.w = min(max((1 - rate) * self.w + rate * w / zoom, self.smallest), width)
        self.h = min(max((1 - rate) * self.h + rate * h / zoom, self.smallest), height)
        return np.array([self.x - self.w / 2, self.y - self.h / 2, self.w, self.h])

    def side(self, w, h):
        """Of the square as large as the box with context around it."""
        around = self.context * (w + h)
        return np.sqrt((w + around) * (h + around))

    @staticmethod
    def change(ratio):
        return max(ratio, 1 / ratio)

    def cut(self, image, side, output):
        """A window of whole pixels around the target as (1, 3, output, output), its left, top and side."""
        side = round(side)
        left, top = (int(np.floor(middle - side / 2 + 0.5)) for middle in (self.x, self.y))
        height, width = image.shape[:2]
        canvas = np.empty((side, side, 3), np.uint8)
        canvas[:] = self.colour
        rows = slice(max(top, 0), min(top + side, height))
        columns = slice(max(left, 0), min(left + side, width))
        canvas[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = image[rows, columns]
        crop = cv2.resize(canvas, (output, output)).astype(np.float32)
        return np.ascontiguousarray(crop.transpose(2, 0, 1)[None]), left, top, side


def _session(file):
    """A network of the source; its backbone takes templates as well as search crops."""
    model = onnx.load(file)
    if len(model.graph.input) == 1 or model.graph.input[0].name == "input":
        for value in [*model.graph.input, *model.graph.output]:
            for axis in (2, 3):
                value.type.tensor_type.shape.dim[axis].dim_param = f"{value.name}_{axis}"
        del model.graph.value_info[:]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
