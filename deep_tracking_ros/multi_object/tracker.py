"""Many objects in the image, from the boxes of any detector.

Boxes of high and then of low score are associated as in ByteTrack (Zhang et al., ECCV 2022), with the score fused into
the overlap and a filter of width and height as in BoT-SORT (Aharon, Orfaig and Bobrovsky, 2022), which also tells how
appearance is used. The belief about an object that was hidden is mended along the straight line between its last and
its new box, and objects are expected to go on in their direction, as in OC-SORT (Cao et al., CVPR 2023).

All tracks live in arrays with one row per track, ordered by id, and all that could be associated in an array of pairs:
nothing loops over tracks. The tracker holds no clock and knows no images.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deep_tracking_ros.multi_object.parts import kalman
from deep_tracking_ros.multi_object.parts.assignment import best_pairs
from deep_tracking_ros.multi_object.parts.kalman import Noise
from deep_tracking_ros.multi_object.parts.overlap import copied, distinct, overlapping
from deep_tracking_ros.types import State, nanoseconds, seconds

Array = NDArray[np.float64]
Indices = NDArray[np.intp]
Flags = NDArray[np.bool_]

HISTORY = 3
"""Observations over which the direction of an object is taken (OC-SORT's delta t)."""
APPEARANCE_GATE = 0.25
"""Larger cosine distances (half of them, 0 to 1) say nothing; as in BoT-SORT."""
APPEARANCE_OVERLAP = 0.5
"""Nor do those of boxes that overlap less; as in BoT-SORT."""
APPEARANCE_MEMORY = 0.9
"""Share of the old in the moving average of embeddings."""
STATES = np.array([State.TENTATIVE, State.CONFIRMED, State.OCCLUDED, State.LOST], np.uint8)
FAR = 1e6
"""Boxes that reach further are none, px."""
TIE_BREAK = np.sqrt([2.0, 3.0, 5.0, 7.0])
"""Weights of x0, y0, x1, y1 by which boxes are ordered: no two different ones have the same sum."""
TINY = 1e-300
SHAPE = np.array([[0.5, 0, 0.5, 0], [0, 0.5, 0, 0.5], [-1, 0, 1, 0], [0, -1, 0, 1]])
LAYOUT = np.concatenate([kalman.TARGETS @ SHAPE, np.diag([-1.0, -1, 1, 1]), np.zeros((1, 4))])
"""From corners x0, y0, x1, y1 to cx, cy, w, h (4, 4), and to what filter and `overlap` take, areas as 0 (16, 4)."""
CORNERS = np.concatenate([[[1, 0, -0.5, 0], [0, 1, 0, -0.5], [1, 0, 0.5, 0], [0, 1, 0, 0.5]], np.zeros((4, 8))], 1)
"""(4, 12) from a belief to the corners of its boxes."""
OUTLINE = np.concatenate([CORNERS * [[-1], [-1], [1], [1]], np.eye(1, 12, kalman.AREA)])
"""(5, 12) from a belief to the outlines of its boxes."""
IDS, KINDS, HITS, MISSED = range(4)
BORN, SEEN, SCORE = range(3)
NO_INDICES: Indices = np.zeros(0, np.intp)


@dataclass(frozen=True)
class Settings:
    """How boxes become tracks. Scores are the detector's, 0 to 1; overlaps are intersections over union."""

    high_score: float = 0.6  # from here on a box is associated first
    low_score: float = 0.1  # below it is not looked at
    start_score: float = 0.7  # from here on it may begin a track
    overlap: float = 0.2  # of high boxes with confirmed tracks, times score
    low_overlap: float = 0.5  # of low boxes with the tracks left over
    tentative_overlap: float = 0.3  # of high boxes with tentative tracks, times score
    duplicate_overlap: float = 0.9  # a box that overlaps a better one of its class by more begins no track
    direction: float = 0.05  # weight of the direction of motion in the cost of an association
    mend_steps: int = 5  # most steps from the last box to the new one of what was hidden; 0 = goes on as predicted
    confirm_after: int = 2  # boxes until a track is confirmed
    occluded_time: float = 0.3  # s without a box until it is lost
    memory: float = 1.0  # s without a box until it is forgotten
    noise: Noise = field(default_factory=Noise)


@dataclass(frozen=True, eq=False)
class Boxes:
    """What a detector found in one image, in any order."""

    boxes: Array  # (N, 4) xyxy, px
    scores: Array  # (N,) 0 to 1
    kinds: Indices  # (N,) number of the class; boxes and tracks of different classes never meet
    embeddings: Array | None = None  # (N, D) of unit length; rows of zeros where there is none


@dataclass(frozen=True, eq=False)
class Tracks:
    """All tracks after one image, one row each, ordered by id. LOST ones stand where they were seen last."""

    ids: Indices  # (N,) from 1, never used again
    boxes: Array  # (N, 4) xyxy, px
    velocities: Array  # (N, 4) of cx, cy, w, h, px/s
    covariance: Array  # (3, N) of each axis: place px^2, place with velocity px^2/s, velocity px^2/s^2
    scores: Array  # (N,) of the box found in this image; -1 = none
    kinds: Indices  # (N,)
    states: NDArray[np.uint8]  # (N,) of `State`: TENTATIVE, CONFIRMED, OCCLUDED, LOST
    ages: Array  # (N,) s since the first box
    unseen: Array  # (N,) s since the last box

    def __len__(self) -> int:
        return len(self.ids)


class _Seen(NamedTuple):
    """What is looked at of the boxes of one image."""

    targets: Array  # (11, M), see `kalman.TARGETS`; the first rows are cx, cy, w, h
    outlines: Array  # (5, M), see `overlap`
    scores: Array  # (M,)
    kinds: Indices  # (M,)
    looks: Array | None  # (D, M) embeddings


@dataclass(eq=False)
class _Rows:
    """What is known of each of N tracks: few arrays of many rows, since each array costs time in every step."""

    belief: Array  # (12, N), see `kalman`
    last: Array  # (12, N) belief right after the last box
    centres: Array  # (2 * HISTORY, N) of the last boxes: x, y, the oldest first
    counts: Indices  # (4, N) id, class, boxes so far, images since the last box
    facts: Array  # (3, N) time of the first and of the last box, score of the box found in this image or -1
    embeddings: Array  # (D, N)

    def __len__(self) -> int:
        return int(self.counts.shape[1])

    def only(self, rows: Flags) -> _Rows:
        return _Rows(*(value.compress(rows, -1) for value in vars(self).values()))


class MultiObjectTracker:
    """Gives boxes of successive images ids that stay with their objects."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.last_id = 0
        self._filter = kalman.Filter(self.settings.noise)
        self._tracks = _no_tracks()
        self._stamp: int | None = None
        self._origin = 0  # ns; times in tracks are relative to it, which is exact in a double for 100 days

    def step(self, stamp: int, found: Boxes, camera_motion: Array | None = None) -> Tracks:
        """Go on to the next image; also where nothing was found in it.

        Args:
            stamp: ns, above that of the step before.
            found: boxes that are not finite or smaller than a pixel, and scores below ``low_score`` or above 1, are
                passed over.
            camera_motion: (2, 3) similarity from pixels of the image before to pixels of this one.

        Returns:
            All tracks; an id of which nothing is known any more is never given again.
        """
        settings, tracks = self.settings, self._tracks
        if self._stamp is None:
            self._origin = self._stamp = stamp
        dt, now = seconds(stamp - self._stamp), float(stamp - self._origin)
        seen = _in_order(found, settings.low_score)

        hidden = tracks.counts[MISSED].astype(bool)
        if np.count_nonzero(hidden):
            np.copyto(tracks.belief[6:8], 0, where=hidden)  # the size of what is hidden would run away
        tracks.belief = self._filter.predict(tracks.belief, dt)
        if camera_motion is not None:
            _warp(tracks, camera_motion)
        rows, columns = _associate(tracks, seen, settings)
        self._update(rows, columns, seen, hidden, now)

        if len(rows) < len(hidden):
            confirmed = tracks.counts[HITS] >= settings.confirm_after
            remembered = tracks.facts[SEEN] >= now - nanoseconds(settings.memory)
            kept = (tracks.counts[MISSED] == 0) | confirmed & remembered
            if np.count_nonzero(kept) < len(kept):
                tracks = tracks.only(kept)
        if len(columns) < len(seen.scores):
            fresh = _fresh(seen, columns, settings)
            if len(fresh):
                tracks = _joined(tracks, self._born(seen, fresh, now))
        self._tracks, self._stamp = tracks, stamp
        return _snapshot(tracks, now, settings)

    def predicted(self, tracks: Tracks, dt: float) -> Tracks:
        """Tracks ``dt`` seconds later, with the size of now and the doubt of then; LOST ones stay."""
        place = kalman.product(SHAPE, tracks.boxes.T)
        belief = np.concatenate([place, tracks.velocities.T, tracks.covariance, place[2:3] * place[3:]])
        belief[6:8] = 0
        later = self._filter.predict_each(belief, np.where(tracks.states == State.LOST, 0, dt))
        return replace(tracks, boxes=kalman.product(CORNERS, later).T, covariance=later[kalman.COVARIANCE])

    def forget(self) -> None:
        """After a time jump: nothing can be associated with what was before. Ids are not given again."""
        self._tracks, self._stamp = _no_tracks(), None

    def _update(self, rows: Indices, columns: Indices, seen: _Seen, hidden: Flags, now: float) -> None:
        """Take the boxes ``columns`` that were found of tracks ``rows``; count what was missed."""
        tracks, counts, facts, n = self._tracks, self._tracks.counts, self._tracks.facts, len(hidden)
        if len(rows) == 0:
            counts[MISSED] += 1
            facts[SCORE] = -1
            return
        box = np.zeros(n, np.intp)
        box[rows] = columns
        targets, facts[SCORE] = seen.targets.take(box, 1), seen.scores.take(box)
        found = None  # all were
        if len(rows) < n:
            found = np.zeros(n, bool)
            found[rows] = True
            hidden &= found
        if self.settings.mend_steps and np.count_nonzero(hidden):
            back = hidden.nonzero()[0]
            tracks.belief[:, back] = self._mended(back, targets.take(back, 1), now)
        self._filter.update(tracks.belief, targets, found)
        if found is None:
            tracks.last = tracks.belief.copy()
            tracks.centres = np.concatenate([tracks.centres[2:], targets[:2]])
            counts[HITS] += 1
            counts[MISSED], facts[SEEN] = 0, now
        else:
            np.copyto(tracks.last, tracks.belief, where=found)
            np.copyto(tracks.centres[:-2], tracks.centres[2:], where=found)
            np.copyto(tracks.centres[-2:], targets[:2], where=found)
            counts[HITS] += found
            np.copyto(facts[SEEN], now, where=found)
            np.logical_not(found, out=found)
            counts[MISSED] += 1
            counts[MISSED] *= found
            np.copyto(facts[SCORE], -1, where=found)
        if seen.looks is not None:
            _look(tracks, rows, seen.looks[:, columns])

    def _mended(self, rows: Indices, targets: Array, now: float) -> Array:
        """(12, K) prediction for tracks that were hidden, as if seen on the straight way to their new boxes."""
        tracks = self._tracks
        steps = np.minimum(tracks.counts[MISSED].take(rows) + 1, self.settings.mend_steps)
        dt = (now - tracks.facts[SEEN].take(rows)) * 1e-9 / steps
        belief = tracks.last.take(rows, 1)
        begin = kalman.TARGETS.dot(belief[kalman.PLACE])
        for k in range(1, int(steps.max())):
            later = self._filter.predict_each(belief, dt)
            self._filter.update(later, begin + k / steps * (targets - begin))
            belief = np.where(k < steps, later, belief)
        return self._filter.predict_each(belief, dt)

    def _born(self, seen: _Seen, fresh: Indices, now: float) -> _Rows:
        """Tracks that begin with some of the boxes."""
        n, places = len(fresh), seen.targets[:4].take(fresh, 1)
        belief, counts, facts = self._filter.start(places), np.zeros((4, n), np.intp), np.full((3, n), now)
        counts[IDS] = np.arange(self.last_id + 1, self.last_id + n + 1)
        counts[KINDS] = seen.kinds.take(fresh)
        # whatever is there in the first image is no sudden apparition
        counts[HITS] = self.settings.confirm_after if now == 0 else 1
        facts[SCORE] = seen.scores.take(fresh)
        self.last_id += n
        looks = np.zeros((0, n)) if seen.looks is None else seen.looks.take(fresh, 1)
        return _Rows(belief, belief.copy(), np.concatenate([places[:2]] * HISTORY), counts, facts, looks)


def _in_order(found: Boxes, low_score: float) -> _Seen:
    """The usable boxes in an order of their own: whoever lists them in another order gets the same tracks."""
    boxes, scores = np.asarray(found.boxes, np.float64).reshape(-1, 4), np.asarray(found.scores, np.float64)
    kinds, looks = np.asarray(found.kinds, np.intp), found.embeddings
    near = np.abs(boxes) < FAR  # false for nan
    large = boxes[:, :2] + kalman.SMALLEST <= boxes[:, 2:]
    usable = (scores >= low_score) & (scores <= 1)
    if np.count_nonzero(near) + np.count_nonzero(large) + np.count_nonzero(usable) < 7 * len(usable):
        usable &= near.all(1) & large.all(1)
        boxes, scores, kinds = boxes.compress(usable, 0), scores.compress(usable), kinds.compress(usable)
        looks = None if looks is None else looks.compress(usable, 0)
    order = (boxes.dot(TIE_BREAK) + scores).argsort()
    table = kalman.product(LAYOUT, boxes.take(order, 0).T)
    np.multiply(table[2], table[3], out=table[15])
    looks = None if looks is None else np.asarray(looks, np.float64).take(order, 0).T
    return _Seen(table[:11], table[11:], scores.take(order), kinds.take(order), looks)


def _associate(tracks: _Rows, seen: _Seen, settings: Settings) -> tuple[Indices, Indices]:
    """(K,) rows of tracks and (K,) boxes that belong together."""
    shape = (len(tracks), len(seen.scores))
    if 0 in shape:
        return NO_INDICES, NO_INDICES
    least = min(settings.overlap, settings.low_overlap, settings.tentative_overlap)
    row, column, overlap = overlapping(kalman.product(OUTLINE, tracks.belief), seen.outlines, least)
    scores = seen.scores.take(column)
    likeness = overlap * scores
    merit = likeness
    if settings.direction:
        angle = _turn(tracks.centres.take(row, 1), seen.targets[:2].take(column, 1))
        # up to half the weight more for going straight on, and up to half of it less for turning back
        merit = (overlap + settings.direction / 2 - angle * (settings.direction / np.pi)) * scores
    if seen.looks is not None and len(tracks.embeddings) == len(seen.looks):
        looks = tracks.embeddings.take(row, 1), seen.looks.take(column, 1)
        merit = np.maximum(merit, 1 - _appearance_cost(*looks, overlap))
    bonus = settings.direction  # else a pair that turned could be admitted and yet be worse than none

    same = tracks.counts[KINDS].take(row) == seen.kinds.take(column)
    high, confirmed = scores >= settings.high_score, (tracks.counts[HITS] >= settings.confirm_after).take(row)
    first = same & high & confirmed & (likeness > settings.overlap)
    rows, columns = best_pairs(row, column, (merit + (bonus - settings.overlap)) * first, shape)
    if len(rows) == min(shape):
        return rows, columns
    # what is left: low boxes for tracks that were seen just now, high ones for tentative tracks; these never compete
    free_row, free_column = np.ones(shape[0], bool), np.ones(shape[1], bool)
    free_row[rows] = free_column[columns] = False
    left = same & free_row.take(row) & free_column.take(column)
    if np.count_nonzero(left):
        low = confirmed & (tracks.counts[MISSED] == 0).take(row) & (overlap > settings.low_overlap)
        gain = np.where(high, merit + (bonus - settings.tentative_overlap), overlap - settings.low_overlap)
        left &= np.where(high, ~confirmed & (likeness > settings.tentative_overlap), low)
        more_rows, more_columns = best_pairs(row, column, gain * left, shape)
        rows, columns = np.concatenate([rows, more_rows]), np.concatenate([columns, more_columns])
    return rows, columns


def _turn(centres: Array, new: Array) -> Array:
    """(P,) angle, 0 to pi, between the last motion (2 * HISTORY, P) and the way to new centres (2, P).

    A right angle where one of them stands.
    """
    last = centres[-2:]
    motion, way = last - centres[:2], new - last
    along = motion * way
    across = motion * way[::-1]
    # with TINY, whatever has no direction lies across
    return np.asarray(np.arctan2(np.abs(across[0] - across[1]) + TINY, along[0] + along[1]))


def _appearance_cost(first: Array, second: Array, overlap: Array) -> Array:
    """(P,) half the cosine distance of embeddings (D, P); inf where it or the overlap says that it means nothing."""
    distance = (1 - (first * second).sum(0)) / 2
    known = first.any(0) & second.any(0) & (distance < APPEARANCE_GATE) & (overlap > APPEARANCE_OVERLAP)
    return np.where(known, distance, np.inf)


def _look(tracks: _Rows, rows: Indices, embeddings: Array) -> None:
    """Take the embeddings (D, K) of the boxes that were found of tracks ``rows``."""
    if len(tracks.embeddings) != len(embeddings):  # the first ones, or those of another network
        tracks.embeddings = np.zeros((len(embeddings), len(tracks)))
    old = tracks.embeddings[:, rows]
    mean = np.where(old.any(0), APPEARANCE_MEMORY * old + (1 - APPEARANCE_MEMORY) * embeddings, embeddings)
    length = np.linalg.norm(mean, axis=0)
    mean = np.divide(mean, length, out=np.zeros_like(mean), where=length > 0)
    tracks.embeddings[:, rows] = np.where(embeddings.any(0), mean, old)


def _warp(tracks: _Rows, matrix: Array) -> None:
    tracks.belief, tracks.last = kalman.warp(tracks.belief, matrix), kalman.warp(tracks.last, matrix)
    centres = tracks.centres.reshape(HISTORY, 2, -1)
    tracks.centres = (matrix[:, :2] @ centres + matrix[:, 2:]).reshape(2 * HISTORY, -1)


def _fresh(seen: _Seen, taken: Indices, settings: Settings) -> Indices:
    """Boxes that begin a track, best first: no copies of a better one, or of one that has a track."""
    unmatched = seen.scores >= settings.start_score
    unmatched[taken] = False
    fresh = unmatched.nonzero()[0]
    if len(fresh) == 0:
        return fresh
    fresh = fresh.take(np.lexsort((seen.kinds.take(fresh), -seen.scores.take(fresh))))
    outlines, kinds, limit = seen.outlines.take(fresh, 1), seen.kinds.take(fresh), settings.duplicate_overlap
    new = ~copied(outlines, kinds, seen.outlines.take(taken, 1), seen.kinds.take(taken), limit)
    return fresh.compress(new).take(distinct(outlines.compress(new, 1), kinds.compress(new), limit))


def _no_tracks() -> _Rows:
    no = np.zeros((12, 0))
    return _Rows(no, no, no[: 2 * HISTORY], no[:4].astype(np.intp), no[:3], no[:0])


def _joined(first: _Rows, second: _Rows) -> _Rows:
    width = max(len(first.embeddings), len(second.embeddings))
    for rows in (first, second):
        if len(rows.embeddings) != width:
            rows.embeddings = np.zeros((width, len(rows)))
    pairs = zip(vars(first).values(), vars(second).values(), strict=True)
    return _Rows(*(np.concatenate(pair, -1) for pair in pairs))


def _snapshot(tracks: _Rows, now: float, settings: Settings) -> Tracks:
    counts, belief, facts = tracks.counts, tracks.belief.copy(), tracks.facts
    ages, unseen = (now - facts[:SCORE]) * 1e-9
    # each of the four states adds something to the one before
    state = (counts[HITS] >= settings.confirm_after).view(np.int8)
    if np.count_nonzero(counts[MISSED]):
        lost = unseen > settings.occluded_time
        state = state + counts[MISSED].astype(bool) + lost
        if np.count_nonzero(lost):  # where it is by now nobody can say
            np.copyto(belief, tracks.last, where=lost)
            np.copyto(belief[kalman.VELOCITY], 0, where=lost)
    ids, kinds = counts[:HITS].copy()
    return Tracks(
        ids=ids,
        boxes=kalman.product(CORNERS, belief).T,
        velocities=belief[kalman.VELOCITY].T,
        covariance=belief[kalman.COVARIANCE],
        scores=facts[SCORE].copy(),
        kinds=kinds,
        states=STATES.take(state),
        ages=ages,
        unseen=unseen,
    )
