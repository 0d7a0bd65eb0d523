"""ATOM's classifier on made-up features: an object is a direction in feature space, blurred over a few cells."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from deep_tracking_ros.single_object.parts.online_classifier import (
    ClassifierSettings,
    ClassifierState,
    _scores,
    first_place,
    labels,
    learn,
    remember,
    score,
    start,
    update,
)
from deep_tracking_ros.single_object.parts.peaks import Localisation, PeakSettings, Verdict, localise

CHANNELS, CELLS = 24, 16
SIZES = torch.tensor([[5.0, 4.5]])
SETTINGS = ClassifierSettings(channels=16, memory=14, start_newton_steps=4, start_conjugate_steps=8)
FOUND = Localisation((8, 8), 1.0, Verdict.FOUND, (0, 0), 0.0)


def directions(seed):
    """An object, a distractor that looks much like it, and another object."""
    rng = torch.Generator().manual_seed(seed)
    target, other, third = functional.normalize(torch.randn(3, CHANNELS, generator=rng), dim=1)
    return target, functional.normalize(0.75 * target + 0.65 * other, dim=0), third


def view(things, seed=0):
    """Features (C, 16, 16): clutter, and things (x, y, direction)."""
    rng = torch.Generator().manual_seed(seed)
    features = 0.1 * torch.randn(CHANNELS, CELLS, CELLS, generator=rng)
    line = torch.arange(CELLS)
    for x, y, direction in things:
        blob = torch.exp(-0.5 * (((line - x) / 1.2) ** 2 + ((line[:, None] - y) / 1.2) ** 2))
        features = features + blob * direction[:, None, None]
    return features


def begin(seeds=(0,), settings_=SETTINGS, views=6, others=True):
    rng = np.random.default_rng(1)
    centres = rng.uniform(5, 10, (len(seeds), views, 2)).astype(np.float32)
    features = []
    for t, seed in enumerate(seeds):
        target, _, third = directions(seed)
        side = [(2.0, 3.0, third)] if others else []
        features.append(torch.stack([view([(*c, target), *side], 50 + i) for i, c in enumerate(centres[t].tolist())]))
    return start(torch.stack(features), torch.from_numpy(centres), SIZES.expand(len(seeds), 2), settings_)


def locate(states, features, settings_=SETTINGS):
    scores = score(states, features, settings_).numpy()
    middle = [(CELLS / 2, CELLS / 2)] * len(states)
    return localise(scores, middle, SIZES.expand(len(states), 2), PeakSettings())


@settings(max_examples=15, deadline=None)
@given(st.sampled_from([1, 3, 4, 5]), st.integers(1, 3), st.integers(1, 3))
def test_the_second_layer_is_a_convolution(kernel, targets, views):
    torch.manual_seed(0)
    z, w = torch.randn(targets, views, 5, 7, 9), torch.randn(targets, 5, kernel, kernel)
    expected = torch.stack([functional.conv2d(z[t], w[t : t + 1], padding=kernel // 2)[:, 0] for t in range(targets)])
    expected = torch.where(expected > 0, expected, 0.05 * ((expected / 0.05).exp() - 1))
    torch.testing.assert_close(_scores(z, w, 0.05), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kernel", [3, 4])
def test_labels_lie_where_scores_are_read(kernel):
    """A kernel of equal weights sees a lone cell best where its label is: the middle of what it covers."""
    s = dataclasses.replace(SETTINGS, kernel=kernel)
    features = torch.zeros(1, 1, 1, CELLS, CELLS)
    features[..., 6, 9] = 1
    scores = _scores(features, torch.ones(1, 1, kernel, kernel), 0.05)[0, 0]
    y, x = (scores.nonzero().float().mean(0) + first_place(s)).tolist()
    assert (x, y) == (9, 6)
    label = labels(torch.tensor([[[9.0, 6.0]]]), SIZES, tuple(scores.shape), s)[0, 0]
    lines = [label.sum(axis) @ torch.arange(len(label)).float() / label.sum() + first_place(s) for axis in (0, 1)]
    assert [line.item() for line in lines] == pytest.approx([9, 6], abs=1e-3)
    assert label.max() <= 1


@pytest.mark.parametrize("seed", range(4))
def test_it_learns_from_the_first_image_what_its_target_is(seed):
    states = begin((seed,))
    target, _, third = directions(seed)
    for x, y in ((4.0, 11.0), (7.5, 8.0), (12.0, 5.0)):
        (found,) = locate(states, view([(x, y, target), (14.0, 13.0, third)], 99)[None])
        assert found.verdict is Verdict.FOUND
        np.testing.assert_allclose(np.array(found.place) + first_place(SETTINGS), (x, y), atol=0.6)
        assert found.score > 0.6


def test_a_target_that_is_not_there_is_not_found():
    states = begin()
    (found,) = locate(states, view([(8.0, 8.0, directions(0)[2])], 98)[None])
    assert found.verdict is Verdict.NOT_FOUND


@pytest.mark.parametrize("seed", range(3))
def test_distractors_are_rejected_once_seen(seed):
    """What looks much like the target scores high, and falls behind while it is looked at, also elsewhere."""
    (state,) = begin((seed,), others=False)
    target, twin, _ = directions(seed)

    def heights(one):
        scores = score([one], view([(8.0, 8.0, target), (13.0, 4.0, twin)], 97)[None], SETTINGS)[0]
        return scores[7:11, 7:11].max().item(), scores[3:7, 12:16].max().item()

    on_target, on_twin = heights(state)
    assert on_twin > 0.7 * on_target
    features = view([(7.0, 9.0, target), (12.0, 3.0, twin)], 96)[None]
    verdicts = []
    for _ in range(9):
        (found,) = locate([state], features)
        verdicts.append(found.verdict)
        hard = dataclasses.replace(found, verdict=Verdict.HARD_NEGATIVE)
        (state,) = update([state], features, [hard], torch.tensor([[7.0, 9.0]]), SIZES, SETTINGS)
    assert verdicts[0] is Verdict.HARD_NEGATIVE
    assert verdicts[-1] is Verdict.FOUND
    after, twin_after = heights(state)
    assert after > 0.9 * on_target
    assert twin_after / after < 0.7 * on_twin / on_target


def changed(before, after):
    return [not torch.equal(a.kernel, b.kernel) for a, b in zip(before, after, strict=True)]


def test_updates_come_every_few_images_and_not_all_at_once():
    s = dataclasses.replace(SETTINGS, update_every=3)
    states = begin((0, 1, 2), s)
    features = torch.stack([view([(8.0, 8.0, directions(seed)[0])], 95) for seed in (0, 1, 2)])
    centres, sizes = torch.full((3, 2), 8.0), SIZES.expand(3, 2)
    when = []
    for _ in range(6):
        after = update(states, features, [FOUND] * 3, centres, sizes, s)
        when.append(changed(states, after))
        states = after
    assert [sum(each) for each in when] == [1] * 6
    assert [sum(each[t] for each in when) for t in range(3)] == [2] * 3


def test_hard_negatives_are_learnt_at_once_and_weigh_twice():
    (state,) = begin()
    features = view([(8.0, 8.0, directions(0)[0])], 94)[None]
    centre = torch.tensor([[8.0, 8.0]])
    hard = dataclasses.replace(FOUND, verdict=Verdict.HARD_NEGATIVE)
    (usual,) = update([state], features, [FOUND], centre, SIZES, SETTINGS)
    (at_once,) = update([state], features, [hard], centre, SIZES, SETTINGS)
    assert changed([state] * 2, [usual, at_once]) == [False, True]
    assert at_once.importance[6].item() == pytest.approx(2 * usual.importance[6].item())


@pytest.mark.parametrize("verdict", [Verdict.UNCERTAIN, Verdict.NOT_FOUND])
def test_what_is_in_doubt_is_not_remembered(verdict):
    (state,) = begin()
    found = dataclasses.replace(FOUND, verdict=verdict)
    for _ in range(SETTINGS.update_every):
        (after,) = update([state], torch.randn(1, CHANNELS, CELLS, CELLS), [found], torch.zeros(1, 2), SIZES, SETTINGS)
        assert torch.equal(after.importance, state.importance)
        assert not changed([state], [after])[0]
        assert after.age == state.age + 1
        state = after


def snapshot(state):
    return {
        field.name: value.clone() if isinstance(value := getattr(state, field.name), torch.Tensor) else value
        for field in dataclasses.fields(ClassifierState)
    }


def test_states_are_values():
    """An update leaves the old state as it was, and the same input gives the same bytes."""
    states = begin((0, 3))
    before = [snapshot(state) for state in states]
    features = torch.stack([view([(8.0, 8.0, directions(seed)[0])], 93) for seed in (0, 3)])
    hard = dataclasses.replace(FOUND, verdict=Verdict.HARD_NEGATIVE)
    arguments = (features, [hard, FOUND], torch.full((2, 2), 8.0), SIZES.expand(2, 2), SETTINGS)
    first, second = update(states, *arguments), update(states, *arguments)
    for old, state in zip(before, states, strict=True):
        assert all(torch.equal(v, getattr(state, k)) for k, v in old.items() if isinstance(v, torch.Tensor))
    assert all(torch.equal(a.kernel, b.kernel) for a, b in zip(first, second, strict=True))
    assert all(torch.equal(a.kernel, b.kernel) for a, b in zip(states, begin((0, 3)), strict=True))


def test_targets_learn_together_as_they_do_alone():
    together = begin((0, 1))
    for t, seed in enumerate((0, 1)):
        target, _, _ = directions(seed)
        features = view([(6.0, 9.0, target)], 92)[None]
        torch.testing.assert_close(
            score([together[t]], features, SETTINGS), score(together, features.expand(2, -1, -1, -1), SETTINGS)[t][None]
        )
        (alone,) = learn([together[t]], SETTINGS)
        torch.testing.assert_close(learn(together, SETTINGS)[t].kernel, alone.kernel, atol=1e-5, rtol=1e-3)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(0.005, 0.3), min_size=1, max_size=25), st.floats(0, 0.5))
def test_laws_of_the_memory(rates, first_share):
    """Shares sum to 1, the first image keeps its own, and of the later views the least important goes."""
    empty = torch.zeros(1)
    importance = functional.pad(torch.full((3,), 1 / 3), (0, 5))
    state = ClassifierState(empty, empty, torch.zeros(8, 1, 2, 2), torch.zeros(8, 2, 2), importance, 3, 0, 0, None)
    for number, rate in enumerate(rates, 1):
        state_before, full = state, (state.importance > 0).all()
        state = remember(state, torch.full((1, 2, 2), number), torch.full((2, 2), number), rate, first_share)
        assert state.importance.sum().item() == pytest.approx(1, abs=1e-5)
        assert state.importance[:3].sum().item() >= first_share - 1e-5
        place = int((state.samples[:, 0, 0, 0] == number).nonzero())
        assert place >= 3
        assert state.labels[place, 0, 0] == number
        if full:
            assert state_before.importance[place] == state_before.importance[3:].min()
        elif (state_before.importance[:3].sum() * (1 - rate)).item() > first_share:
            assert state.importance[place].item() == pytest.approx(rate, rel=1e-3)
    assert int((state.importance > 0).sum()) == 3 + min(5, len(rates))
