"""Small networks with what trackers are made of, as the tests of the backends run them."""

import numpy as np
import torch
from torch import nn

from deep_tracking_ros.inference import Network, TensorSpec


class Correlation(nn.Module):
    """Features of two crops by one backbone, correlated per target: a run-time weight and a batch of any size."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(7)
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU6(), nn.Conv2d(8, 8, 3, stride=2)
        )
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
        self.window = torch.hann_window(16)

    def forward(self, template, search):
        z, x = self.features(template), self.features(search)
        patches = nn.functional.unfold(x, 7)  # (N, 8*7*7, 9*9)
        response = torch.bmm(z.flatten(1).unsqueeze(1), patches).unflatten(2, (9, 9))
        response = nn.functional.interpolate(response, size=(16, 16), mode="bicubic", align_corners=False)
        score = torch.softmax(response.flatten(1), 1)
        return response * self.window, score.max(1).values


class Pick(nn.Module):
    """Selects by data, which TensorRT's parser refuses."""

    def forward(self, x):
        return torch.nonzero(x)


def pick():
    spec = TensorSpec("x", (-1, 4), np.float32, (1, 4), (2, 4), (4, 4))
    return Network("pick", (spec,), (TensorSpec("where", (-1, 2), np.int64),), "p" * 64, Pick)


def crops(name, size):
    def shape(n):
        return (n, 3, size, size)

    return TensorSpec(name, shape(-1), minimum=shape(1), optimum=shape(2), maximum=shape(4))


def correlation(digest="d" * 64):
    return Network(
        "correlation",
        (crops("template", 31), crops("search", 63)),
        (TensorSpec("response", (-1, 1, 16, 16)), TensorSpec("score", (-1,))),
        digest,
        Correlation,
    )


def batch(n, seed=0):
    random = np.random.default_rng(seed)
    return {
        "template": random.random((n, 3, 31, 31), np.float32),
        "search": random.random((n, 3, 63, 63), np.float32),
    }
