"""RT-MDNet's layers on made-up features: a box shows its object's direction, as much as the two overlap."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional

from deep_tracking_ros.errors import InvalidBoxError
from deep_tracking_ros.geometry.boxes import iou
from deep_tracking_ros.single_object.parts import mdnet_classifier
from deep_tracking_ros.single_object.parts.mdnet_classifier import (
    MDNetSettings,
    _minibatches,
    _train,
    score,
    stacked,
    start,
    update,
)
from deep_tracking_ros.single_object.parts.refinement import mean_of_best
from deep_tracking_ros.single_object.parts.sampling import NEGATIVES, POSITIVES, Spread, draw, draw_with_overlap

INPUTS, WIDTH, HEIGHT = 48, 320, 240
CANDIDATES = Spread(0.3, 0.024)
SETTINGS = MDNetSettings(start_steps=40, steps=10, rate=0.01, last_rate=0.05, candidates=192)
TARGET = np.array([140.0, 100, 190, 140], np.float32)
MOVED = TARGET + np.array([9, -7, 9, -7], np.float32)
TWIN = np.array([230.0, 60, 280, 100], np.float32)


def scene(seed=0, twin=0.0):
    """Features of boxes where the target is at TARGET and, with some share, something like it at TWIN."""
    generator = torch.Generator().manual_seed(seed)
    target, other, clutter = functional.normalize(torch.randn(3, INPUTS, generator=generator), dim=1)
    alike = functional.normalize(0.7 * target + 0.7 * other, dim=0)

    def features(boxes, noise=0):
        on, on_twin = (torch.from_numpy(iou(boxes, place)).unsqueeze(1) for place in (TARGET, TWIN))
        random = torch.randn(len(boxes), INPUTS, generator=torch.Generator().manual_seed(noise))
        seen = on * target + (twin * on_twin) * alike + (1 - on) * 0.3 * clutter
        return 3 * (seen + 0.05 * random)

    return features


def examples(features, seed=0, negative=0.5, counts=(100, 300)):
    rng = np.random.default_rng(seed)
    positives = draw_with_overlap(TARGET, counts[0], rng, POSITIVES, (0.7, 1), WIDTH, HEIGHT)
    negatives = draw_with_overlap(TARGET, counts[1], rng, NEGATIVES, (0, negative), WIDTH, HEIGHT)
    return features(positives, seed), features(negatives, seed + 1)


def random_layers(inputs=INPUTS, hidden=32, seed=0):
    """Layers that know nothing: He's deviation, the last one small."""
    generator = torch.Generator().manual_seed(seed)
    fc4, fc5 = (torch.randn(n, hidden, generator=generator) * (2 / n) ** 0.5 for n in (inputs, hidden))
    return fc4, torch.zeros(hidden), fc5, torch.zeros(hidden), torch.zeros(hidden, 1), torch.zeros(1)


def begin(seeds=(0,), settings=SETTINGS, trained=None):
    on, off = zip(*(examples(scene(seed)) for seed in seeds), strict=True)
    return start(on, off, settings, trained or random_layers())


@pytest.mark.parametrize("seed", range(3))
def test_it_learns_in_the_first_image_to_tell_boxes(seed):
    states = begin((seed,))
    on, off = examples(scene(seed), 50)
    logits_on, logits_off = (score(stacked(states), x[None])[0] for x in (on, off))
    assert (logits_on > 0).float().mean() > 0.97
    assert (logits_off < 0).float().mean() > 0.95
    (state,) = begin((seed,), dataclasses.replace(SETTINGS, start_steps=1, rate=0, last_rate=0))
    before = score(stacked([state]), on[None])
    assert 0 < before.abs().max() < 0.5  # it knew nothing


def test_the_best_candidates_are_on_the_target():
    features = scene()
    candidates = draw(MOVED, 256, np.random.default_rng(3), CANDIDATES, WIDTH, HEIGHT)
    logits = score(stacked(begin()), features(candidates, 9)[None]).numpy()
    (box,), (logit,) = mean_of_best(candidates[None], logits, 5)
    assert logit > 0
    assert iou(box, TARGET) > 0.75
    assert iou(MOVED, TARGET) < 0.6


@pytest.mark.parametrize("seed", range(3))
def test_distractors_are_rejected_once_seen(seed):
    """What looks like the target is in doubt at first; updates with it among the negatives end that."""
    s = dataclasses.replace(SETTINGS, update_every=2)
    (state,) = begin((seed,))
    features = scene(seed, twin=1.0)

    def logits(one):
        return score(stacked([one]), features(np.stack([TARGET, TWIN]), 77)[None])[0].tolist()

    before = logits(state)[1]
    assert before > -2
    for number in range(10):
        on, off = examples(features, 100 + number, 0.3, (20, 80))
        near_twin = features(TWIN + np.random.default_rng(number).uniform(-3, 3, (6, 4)).astype(np.float32), number)
        (state,) = update([state], [1.0], [on], [torch.cat([off, near_twin])], s)
    target, twin = logits(state)
    assert target > 3
    assert twin < min(-0.5, before - 1)


def learnt(before, after):
    return [not torch.equal(a.layers[0], b.layers[0]) for a, b in zip(before, after, strict=True)]


def test_when_updates_come_and_what_they_remember():
    s = dataclasses.replace(SETTINGS, update_every=4, steps=1, long_memory=5, short_memory=3)
    states = begin((0,), s)
    on, off = examples(scene(), 5, 0.3, (10, 20))
    when = []
    for _ in range(8):
        after = update(states, [0.5], [on], [off], s)
        when.append(learnt(states, after)[0])
        states = after
    assert when == [False, False, False, True] * 2
    assert len(states[0].positives) == 5
    assert len(states[0].negatives) == 3
    unsure = update(states, [-0.5], [on], [off], s)
    assert learnt(states, unsure) == [True]
    assert unsure[0].positives == states[0].positives  # such an image is not remembered


def test_short_updates_learn_from_the_newest_images_only():
    """Positives of old images are replaced by nonsense: an update of an unsure target does not see them."""
    s = dataclasses.replace(SETTINGS, short_memory=2)
    (state,) = begin((0,), s)
    for number in range(3):
        on, off = examples(scene(), number, 0.3, (10, 20))
        (state,) = update([state], [1.0], [on], [off], s)
    nonsense = dataclasses.replace(state, positives=(state.positives[0] * 0 + 9, *state.positives[1:]))
    none = [torch.zeros(0, INPUTS)]
    (short,), (other,) = (update([one], [-1.0], none, none, s) for one in (state, nonsense))
    assert changed_not(short, other)  # 4 images are remembered, the newest 2 are used
    s = dataclasses.replace(s, short_memory=4)
    (short,), (other,) = (update([one], [-1.0], none, none, s) for one in (state, nonsense))
    assert not changed_not(short, other)


def changed_not(first, second):
    return all(torch.equal(a, b) for a, b in zip(first.layers, second.layers, strict=True))


def test_states_are_values_and_seeded():
    first, second = begin((0, 1)), begin((0, 1))
    before = [tuple(part.clone() for part in state.layers) for state in first]
    on, off = examples(scene(), 4, 0.3, (10, 20))
    again = [update(first, [-1.0, 1.0], [on] * 2, [off] * 2, SETTINGS) for _ in range(2)]
    for t in range(2):
        assert changed_not(first[t], second[t])
        assert changed_not(again[0][t], again[1][t])
        assert all(torch.equal(a, b) for a, b in zip(before[t], first[t].layers, strict=True))
    other_seed = begin((0, 1), dataclasses.replace(SETTINGS, seed=5))
    assert not changed_not(first[0], other_seed[0])


def test_targets_learn_together_as_they_do_alone():
    together = begin((0, 1, 2))
    for t, state in enumerate(together):
        (alone,) = begin((t,))
        for a, b in zip(state.layers, alone.layers, strict=True):
            torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)


def test_copies_of_a_lost_target_learn_once(monkeypatch):
    """A lost target and the copies that search for it elsewhere know the same, and learn it together."""
    trained = []

    def counted(states, *others):
        trained.append(len(states))
        return _train(states, *others)

    monkeypatch.setattr(mdnet_classifier, "_train", counted)
    one, other = begin((0, 1))
    trained.clear()
    none = [torch.zeros(0, INPUTS)] * 6
    for _ in range(2):  # the copies share what they learnt, so the second time too
        states = [one, dataclasses.replace(one), other, one, dataclasses.replace(other), one]
        one, copy, other, *_ = after = update(states, [-1.0] * 6, none, none, SETTINGS)
        assert all(changed_not(after[t], one) for t in (1, 3, 5))
        assert not changed_not(one, other)
        assert copy is not one
    assert trained == [2, 2]
    (alone,) = update([begin((0,))[0]], [-1.0], none, none, SETTINGS)
    (again,) = update([alone], [-1.0], none, none, SETTINGS)
    for a, b in zip(one.layers, again.layers, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)
    # one that was started like another is not its copy: what it remembers is its own
    trained.clear()
    update([*begin((0,)), *begin((0,))], [-1.0] * 2, none, none, SETTINGS)
    assert trained[-1] == 2


def test_trained_layers_are_where_learning_starts():
    trained = random_layers(hidden=20, seed=9)
    (state,) = begin((0,), dataclasses.replace(SETTINGS, start_steps=1, rate=0, last_rate=0.01), trained)
    for ours, theirs in zip(state.layers[:4], trained[:4], strict=True):
        torch.testing.assert_close(ours, theirs)
    assert not torch.equal(state.layers[4], trained[4])


def test_hard_negatives_are_the_ones_that_are_learnt():
    """Among many easy negatives a few hard ones: without mining they are drowned, with it they are learnt."""
    generator = torch.Generator().manual_seed(0)
    target = functional.normalize(torch.randn(INPUTS, generator=generator), dim=0)
    twist = functional.normalize(torch.randn(INPUTS, generator=generator), dim=0)
    on = 3 * target + 0.1 * torch.randn(60, INPUTS, generator=generator)
    hard = 3 * target + 1.5 * twist + 0.1 * torch.randn(8, INPUTS, generator=generator)
    off = torch.cat([0.1 * torch.randn(376, INPUTS, generator=generator), hard])
    few = dataclasses.replace(SETTINGS, positives=16, negatives=16, start_steps=30)
    mined = dataclasses.replace(few, candidates=384)
    plain = dataclasses.replace(few, candidates=16)
    results = [score(stacked(start([on], [off], s, random_layers())), hard[None]).mean().item() for s in (mined, plain)]
    assert results[0] < 0 < results[1]


def test_minibatches_use_every_example_before_any_again():
    pool, order = _minibatches(torch.arange(10.0).unsqueeze(1), 4, 5, 3)
    assert order.shape == (5, 4)
    assert sorted(order.flatten()[:10].tolist()) == list(range(10))
    assert torch.equal(order, _minibatches(pool, 4, 5, 3)[1])


def test_without_background_there_is_nothing_to_learn():
    with pytest.raises(InvalidBoxError, match="target 1 has 3 boxes on it and 0 beside it"):
        start([torch.zeros(3, 4)] * 2, [torch.zeros(3, 4), torch.zeros(0, 4)], SETTINGS, random_layers(4))
