import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import pytest
import torch

from deep_tracking_ros.cli.main import app
from deep_tracking_ros.errors import DataError, InvalidRequestError
from deep_tracking_ros.training.loop import LoopSettings, Ring, Trainer, plot
from deep_tracking_ros.training.siamfc import PARAMETERS, SiamFCTask


@dataclass(frozen=True)
class Line:
    """Learn y = 3 x - 1 from samples."""

    fields = {"x": ((), np.float32), "y": ((), np.float32)}  # noqa: RUF012

    def producer(self, worker, first):
        numbers = iter(range(first, 1 << 30))

        def make():
            x = np.random.default_rng([worker, next(numbers)]).uniform(-1, 1)
            return {"x": np.float32(x), "y": np.float32(3 * x - 1)}

        return make

    def network(self):
        return torch.nn.Linear(1, 1)

    def groups(self, network):
        return [{"params": [network.weight], "lr": 0.05}, {"params": [network.bias], "lr": 0.05, "start": 0.2}]

    def loss(self, network, batch: Mapping[str, torch.Tensor]):
        loss = ((network(batch["x"][:, None])[:, 0] - batch["y"]) ** 2).mean()
        return {"loss": loss}


SETTINGS = LoopSettings(steps=400, batch=8, workers=0, ring=64, fill=8, log_every=10, checkpoint_every=50, average=0.9)


def test_a_line_is_learnt(tmp_path):
    lines = []
    weights = Trainer(Line(), tmp_path, SETTINGS).run(lines.append)
    assert weights["weight"].item() == pytest.approx(3, abs=0.1)
    assert weights["bias"].item() == pytest.approx(-1, abs=0.1)
    assert lines[-1]["step"] == 400
    assert lines[-1]["loss"] < 0.02 < lines[0]["loss"]
    assert [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()] == lines


def test_a_group_learns_only_from_its_start(tmp_path):
    trainer = Trainer(Line(), tmp_path, SETTINGS)
    before = trainer.network.bias.item()
    arrays = {"x": np.ones(8, np.float32), "y": np.zeros(8, np.float32)}
    trainer._learn(arrays)
    assert trainer.network.bias.item() == before
    trainer.step = 300
    trainer._learn(arrays)
    assert trainer.network.bias.item() != before


def test_an_interrupted_run_goes_on(tmp_path):
    """Cut off after 150 of 400 steps, the run starts from the checkpoint, with optimiser, averages and log."""

    def interrupt(line):
        if line["step"] == 170:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Trainer(Line(), tmp_path, SETTINGS).run(interrupt)
    again = Trainer(Line(), tmp_path, SETTINGS)
    assert again.step == 150
    assert again.optimizer.state_dict()["state"]
    weights = again.run()
    assert again.step == 400
    assert weights["weight"].item() == pytest.approx(3, abs=0.1)


def test_the_same_seed_gives_the_same_weights(tmp_path):
    def train(folder):
        return Trainer(Line(), tmp_path / folder, dataclasses.replace(SETTINGS, steps=30)).run()["weight"].item()

    assert train("first") == train("second")


@dataclass(frozen=True)
class Jittered(Line):
    """Notes what each step draws at random."""

    drawn: list

    def loss(self, network, batch):
        self.drawn.append(float(torch.rand(())))
        return super().loss(network, batch)


def interrupted(folder, drawn):
    """150 steps are kept of a run that drew 155 numbers."""

    def interrupt():
        if len(drawn) == 155:
            raise KeyboardInterrupt

    class Interrupted(Jittered):
        def loss(self, network, batch):
            interrupt()
            return super().loss(network, batch)

    with pytest.raises(KeyboardInterrupt):
        Trainer(Interrupted(drawn), folder, SETTINGS).run()


def test_what_is_drawn_at_random_goes_on_after_an_interruption(tmp_path):
    before, after = [], []
    interrupted(tmp_path, before)
    Trainer(Jittered(after), tmp_path, dataclasses.replace(SETTINGS, steps=170)).run()
    assert len(after) == 20
    assert after[:5] == before[150:]
    assert not set(after[5:]) & set(before)


def test_checkpoints_without_random_numbers_are_taken(tmp_path):
    before, after = [], []
    interrupted(tmp_path, before)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    del state["random"]
    torch.save(state, tmp_path / "checkpoint.pt")
    Trainer(Jittered(after), tmp_path, dataclasses.replace(SETTINGS, steps=170)).run()
    assert len(after) == 20
    assert not set(after) & set(before)  # the first ones are not drawn again


def test_another_checkpoint_is_refused(tmp_path):
    @dataclass(frozen=True)
    class Other(Line):
        def network(self):
            return torch.nn.Linear(2, 1)

    Trainer(Line(), tmp_path, dataclasses.replace(SETTINGS, steps=2)).run()
    with pytest.raises(DataError, match=r"checkpoint\.pt"):
        Trainer(Other(), tmp_path, SETTINGS)


def test_a_training_needs_a_length(tmp_path):
    with pytest.raises(InvalidRequestError, match="steps or seconds"):
        Trainer(Line(), tmp_path, LoopSettings(seconds=0))


def test_a_producer_process_fills_the_ring(tmp_path):
    settings = dataclasses.replace(SETTINGS, workers=1, steps=40)
    Trainer(Line(), tmp_path, settings).run()
    ring = Ring(tmp_path / "ring", Line().fields, settings.ring, 1)
    assert ring.written[0] >= settings.fill
    count = min(int(ring.written[0]), ring.share)
    np.testing.assert_allclose(ring.data["y"][0, :count], 3 * ring.data["x"][0, :count] - 1, rtol=1e-5)


def test_the_ring_keeps_the_last_samples_and_draws_from_all_writers(tmp_path):
    ring = Ring(tmp_path, {"x": ((), np.int64)}, capacity=20, workers=2)
    for i in range(25):
        ring.put(0, {"x": np.int64(i)})
    for i in range(5):
        ring.put(1, {"x": np.int64(100 + i)})
    drawn = ring.draw(3000, np.random.default_rng(0))["x"]
    assert set(drawn.tolist()) == {*range(15, 25), *range(100, 105)}
    assert (drawn >= 100).mean() == pytest.approx(1 / 3, abs=0.05)
    assert ring.drawn[0] == 3000
    again = Ring(tmp_path, {"x": ((), np.int64)}, capacity=20, workers=2)
    assert again.written.tolist() == [25, 5]
    with pytest.raises(DataError, match="other settings"):
        Ring(tmp_path, {"x": ((3,), np.int64)}, capacity=20, workers=2)


def test_logs_that_cannot_be_plotted(tmp_path):
    (tmp_path / "log.jsonl").write_text("")
    with pytest.raises(DataError, match="empty"):
        plot(tmp_path / "log.jsonl", tmp_path / "log.png")
    with pytest.raises(DataError, match="cannot read"):
        plot(tmp_path / "nothing.jsonl", tmp_path / "log.png")


@pytest.fixture
def photographs(tmp_path):
    """A folder of smooth random pictures: backgrounds and textures for composed scenes."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(6):
        coarse = rng.integers(0, 256, (12, 16, 3)).astype(np.uint8)
        image = cv2.resize(coarse, (320, 240), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{i}.jpg"), image)
    return folder


def test_siamfc_learns_a_few_pairs_by_heart(tmp_path, photographs):
    """Eight pairs that come again and again: by chance of the pairs the loss can neither rise nor fall."""
    settings = LoopSettings(steps=16, batch=8, workers=0, ring=8, fill=8, reuse=16, log_every=4)
    lines = []
    Trainer(SiamFCTask((str(photographs),), (), PARAMETERS), tmp_path / "run", settings).run(lines.append)
    assert {line["produced"] for line in lines} == {8}
    losses = [line["loss"] for line in lines]  # means of four steps
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.6 * losses[0]


def test_train_siamfc_from_the_command_line(tmp_path, photographs):
    """What comes out is a model that tracks."""
    from typer.testing import CliRunner

    from deep_tracking_ros.models.store import find_model
    from deep_tracking_ros.single_object.golden import check_golden
    from deep_tracking_ros.single_object.registry import make_tracker

    out = tmp_path / "run"
    command = ["train", "sot", "--heads", "siamfc", "--images", str(photographs), "--out", str(out)]
    result = CliRunner().invoke(app, [*command, "--steps", "10", "--batch", "8", "--workers", "0"])
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [(line["step"], line["samples"]) for line in lines] == [(10, 80)]
    assert (out / "log.png").stat().st_size > 5000
    model = find_model(str(out / "models" / "siamfc"))
    assert model.card.name == "siamfc"
    assert model.card.training["steps"] == 10
    assert check_golden(model, backend="torch") < 1e-3
    tracker = make_tracker(model, backend="torch")
    image = cv2.imread(str(photographs / "0.jpg"))
    (target,) = tracker.start(image, np.array([[100, 80, 160, 140]], np.float32))
    (estimate,) = tracker.track(image, [target])
    assert np.isfinite(estimate.box).all()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--images", ".", "--heads", "yolo"], "together can be trained goturn"),
        (["--images", ".", "--heads", "siammask"], "--backbone"),
        ([], "nothing to learn from"),
        (["--images", "no/such/folder", "--workers", "0"], "does not exist"),
        (["--images", ".", "--device", "cuda"], "GPU"),
    ],
)
def test_commands_that_cannot_be_run(tmp_path, arguments, words):
    from typer.testing import CliRunner

    if "cuda" in arguments and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    result = CliRunner().invoke(app, ["train", "sot", "--out", str(tmp_path), *arguments])
    assert words in str(result.exception)
