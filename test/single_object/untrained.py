"""Small models of every siamese architecture: real features under heads with seeded random weights.

They follow nothing, but all that a tracker keeps whatever its network says can be tried on them in milliseconds.
"""

import torch

from deep_tracking_ros.models.card import ModelCard
from deep_tracking_ros.models.store import find_model
from deep_tracking_ros.single_object.parts.backbone import Backbone
from deep_tracking_ros.training.clips import ClipSet
from deep_tracking_ros.training.finish import finish
from deep_tracking_ros.training.heads import HEADS as TRAINABLE
from deep_tracking_ros.training.heads import Head

HEADS = {name: head for name, head in TRAINABLE.items() if head.module == name}
"""One for each architecture."""
TEMPLATE, SEARCH = 64, 128
SMALL = {"goturn": {"search": TEMPLATE}, "transt": {"layers": 1, "heads": 2}}
"""What differs from 16 channels and crops of 128 px."""
GRID = {"rpt": {**HEADS["rpt"].grid, "online": (0.4,)}}
"""Where another default than the first one is tried: what an online classifier adds is off by default."""
LOUD = ("classify.weight", "classify.4.weight", "quality.weight", "paint.weight")


def make(name, folder):
    """Write the model into a folder of its name; its card has the first settings of `HEADS`."""
    parameters = {"channels": 16, "template": TEMPLATE, "search": SEARCH, **SMALL.get(name, {})}
    made = {key: value for key, value in parameters.items() if key not in ("template", "search")}
    with torch.random.fork_rng():
        torch.manual_seed(sum(name.encode()))
        head = Head(HEADS[name].module, made, "").make(TEMPLATE)
        for name_, parameter in head.named_parameters():
            if not parameter.any():  # layers that begin at zero say nothing until they learn
                torch.nn.init.normal_(parameter, std=0.02)
            if name_ in LOUD:  # cells that all say much the same would be told apart by rounding
                parameter.data *= 20
    backbone = Backbone()
    features = {k.removeprefix("embedding.backbone."): v for k, v in find_model("siamfc").state().items()}
    backbone.load_state_dict({key: torch.as_tensor(features[key]) for key in backbone.state_dict()})
    weights = {f"head.{k}": v for k, v in head.state_dict().items()}
    weights |= {f"backbone.{k}": v for k, v in backbone.state_dict().items()}
    card = ModelCard(name, "single_object", name, parameters, licence="Apache-2.0")
    return finish(card, weights, folder / name, ClipSet(), GRID.get(name, HEADS[name].grid), lambda text: None)
