"""Many objects in the image, from the boxes of any detector.

Boxes of high and then of low score are associated as in ByteTrack (Zhang et al., ECCV 2022), with the score fused into
the overlap and a filter of width and height as in BoT-SORT (Aharon, Orfaig and Bobrovsky, 2022), which also tells how
appearance is used. The belief about an object that was hidden is mended along the straight line between its last and
its new box, and objects are expected to go on in their direction, as in OC-SORT (Cao et al., CVPR 2023).

All tracks live in arrays with one row per track, ordered by id, and all that could be associated in an array of pairs:
nothing loops over tracks. The tracker holds no clock and knows no images.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from deep_tracking_ros.multi_object.parts import kalman
from deep_tracking_ros.multi_object.parts.assignment import assign_pairs
from deep_tracking_ros.multi_object.parts.kalman import Noise
from deep_tracking_ros.multi_object.parts.overlap import overlaps
from deep_tracking_ros.types import State, nanoseconds, seconds

Array = NDArray[np.float64]
Indices = NDArray[np.intp]
Flags = NDArray[np.bool_]

HISTORY = 3
"""Observations over which the direction of an object is taken (OC-SORT's delta t)."""
MEND_STEPS = 5
"""Most virtual boxes that stand in for those that were missed."""
APPEARANCE_GATE = 0.25
"""Larger cosine distances (half of them, 0 to 1) say nothing; as in BoT-SORT."""
APPEARANCE_OVERLAP = 0.5
"""Nor do those of boxes that overlap less; as in BoT-SORT."""
APPEARANCE_MEMORY = 0.9
"""Share of the old in the moving average of embeddings."""
STATES = np.array([State.TENTATIVE, State.CONFIRMED], np.uint8)
"""Of tracks that were seen, by whether they are confirmed."""
TIE_BREAK = np.sqrt([2.0, 3.0, 5.0, 7.0])
"""Weights by which boxes of equal score are ordered: no two different boxes have the same sum."""


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
    """All tracks after one image, one row each, ordered by id."""

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


@dataclass(eq=False)
class _Rows:
    """What is known of each of N tracks: few arrays of many rows, since each array costs time in every step."""

    belief: Array  # (11, N), see `kalman`
    last: Array  # (11, N) belief right after the last box
    centres: Array  # (2 * HISTORY, N) of the last boxes: x, y, the oldest first
    scores: Array  # (N,) of the box found in this image, -1 = none
    counts: Indices  # (6, N)
    embeddings: Array  # (D, N)

    ids = property(lambda self: self.counts[0])
    kinds = property(lambda self: self.counts[1])
    hits = property(lambda self: self.counts[2])  # boxes so far
    missed = property(lambda self: self.counts[3])  # images since the last box
    born = property(lambda self: self.counts[4])  # ns, of the first box
    seen = property(lambda self: self.counts[5])  # ns, of the last box

    def __getitem__(self, rows: Indices | Flags) -> _Rows:
        return _Rows(*(value[..., rows] for value in vars(self).values()))


class MultiObjectTracker:
    """Gives boxes of successive images ids that stay with their objects."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self._stamp: int | None = None
        self.last_id = 0
        self._tracks = _no_tracks()

    def step(self, stamp: int, found: Boxes, camera_motion: Array | None = None) -> Tracks:
        """Go on to the next image; also where nothing was found in it.

        Args:
            stamp: ns, above that of the step before.
            found: boxes that are not finite, have no area or a score below ``low_score`` are passed over.
            camera_motion: (2, 3) similarity from pixels of the image before to pixels of this one.

        Returns:
            All tracks; an id of which nothing is known any more is never given again.
        """
        settings, tracks = self.settings, self._tracks
        dt = 0.0 if self._stamp is None else seconds(stamp - self._stamp)
        found, places = _in_order(found, settings.low_score)

        tracks.belief[6:8] *= tracks.missed == 0  # the size of what is hidden would run away
        tracks.belief = kalman.predict(tracks.belief, dt, settings.noise)
        if camera_motion is not None:
            _warp(tracks, camera_motion)
        rows, columns = _associate(tracks, found, places, settings)
        _update(tracks, rows, places[:, columns], found.scores[columns], stamp, settings.noise)
        if found.embeddings is not None:
            _look(tracks, rows, found.embeddings[columns].T)

        unmatched = found.scores >= settings.start_score
        unmatched[columns] = False
        fresh = unmatched.nonzero()[0]
        if len(fresh):
            fresh = _without_duplicates(fresh, columns, found, settings.duplicate_overlap)
        limit = stamp - nanoseconds(settings.memory)
        kept = (tracks.missed == 0) | ((tracks.hits >= settings.confirm_after) & (tracks.seen >= limit))
        if not kept.all():
            tracks = tracks[kept]
        if len(fresh):
            # whatever is there in the first image is no sudden apparition
            hits = settings.confirm_after if self._stamp is None else 1
            looks = np.zeros((0, len(fresh))) if found.embeddings is None else found.embeddings[fresh].T
            ids = np.arange(len(fresh)) + self.last_id + 1
            counts = _counts(ids, found.kinds[fresh], hits, stamp)
            tracks = _joined(tracks, _born(places[:, fresh], found.scores[fresh], counts, looks, settings.noise))
            self.last_id += len(fresh)
        self._tracks, self._stamp = tracks, stamp
        return _snapshot(tracks, stamp, settings)

    def forget(self) -> None:
        """After a time jump: nothing can be associated with what was before. Ids are not given again."""
        self._tracks, self._stamp = _no_tracks(), None


def _in_order(found: Boxes, low_score: float) -> tuple[Boxes, Array]:
    """The usable boxes, best first and then by place, and their (4, N) cx, cy, w, h.

    Whoever listed the boxes in another order gets the same tracks.
    """
    boxes, scores = np.asarray(found.boxes, np.float64).reshape(-1, 4), np.asarray(found.scores, np.float64)
    kinds = np.asarray(found.kinds, np.intp)
    sides = boxes[:, 2:] - boxes[:, :2]
    usable = (scores >= low_score) & (sides > 0).all(1) & (sides.sum(1) < np.inf)  # false for nan
    index = usable.nonzero()[0]  # a third of the time of flatnonzero
    index = index[np.lexsort((boxes[index] @ TIE_BREAK + kinds[index], -scores[index]))]
    boxes, sides = boxes[index], sides[index]
    places = np.concatenate([boxes[:, :2] + sides / 2, sides], 1).T
    looks = None if found.embeddings is None else np.asarray(found.embeddings, np.float64)[index]
    return Boxes(boxes, scores[index], kinds[index], looks), places


def _associate(tracks: _Rows, found: Boxes, places: Array, settings: Settings) -> tuple[Indices, Indices]:
    """(K,) rows of tracks and (K,) boxes that belong together."""
    track_of = np.full(len(found.boxes), -1)
    shape = (tracks.scores.size, len(found.boxes))
    if 0 in shape:
        return track_of[:0], track_of[:0]
    least = min(settings.overlap, settings.low_overlap, settings.tentative_overlap)
    row, column, overlap = overlaps(_corners(tracks.belief), found.boxes, least)
    same = tracks.kinds[row] == found.kinds[column]
    if not same.all():
        row, column, overlap = row[same], column[same], overlap[same]
    scores = found.scores[column]
    likeness = overlap * scores
    cost = 1 - likeness
    if settings.direction:
        cost += settings.direction * scores * _turn(tracks.centres[:, row], places[:2, column])
    if found.embeddings is not None and len(tracks.embeddings) == found.embeddings.shape[1]:
        looks = tracks.embeddings[:, row], found.embeddings[column].T
        cost = np.minimum(cost, _appearance_cost(*looks, overlap))
    high, confirmed = scores >= settings.high_score, (tracks.hits >= settings.confirm_after)[row]
    free = np.ones(shape[0], bool)

    def match(admitted: Flags, cost: Array, limit: float) -> None:
        chosen = admitted.nonzero()[0]
        if len(chosen):
            pairs = assign_pairs(row[chosen], column[chosen], cost[chosen], shape, limit)
            track_of[pairs[:, 1]] = pairs[:, 0]
            free[pairs[:, 0]] = False

    bonus = settings.direction  # else a pair that turned could be admitted and yet be worse than none
    match(high & confirmed & (likeness > settings.overlap), cost, 1 - settings.overlap + bonus)
    recent = confirmed & (tracks.missed[row] == 0) & free[row]
    match(recent & ~high & (overlap > settings.low_overlap), 1 - overlap, 1 - settings.low_overlap)
    left = high & ~confirmed & (track_of[column] < 0)
    match(left & (likeness > settings.tentative_overlap), cost, 1 - settings.tentative_overlap + bonus)
    columns = (track_of >= 0).nonzero()[0]
    return track_of[columns], columns


def _turn(centres: Array, new: Array) -> Array:
    """(P,) angle between the last motion (2 * HISTORY, P) and the way to new centres (2, P).

    In half turns less a half: -0.5 straight ahead, 0.5 back, 0 where one of them stands.
    """
    motion, way = centres[-2:] - centres[:2], new - centres[-2:]
    along = motion[0] * way[0] + motion[1] * way[1]
    across = motion[0] * way[1] - motion[1] * way[0]
    turn = np.abs(np.arctan2(across, along)) / np.pi - 0.5
    turn[(along == 0) & (across == 0)] = 0
    return np.asarray(turn)


def _appearance_cost(first: Array, second: Array, overlap: Array) -> Array:
    """(P,) half the cosine distance of embeddings (D, P); inf where it or the overlap says that it means nothing."""
    distance = (1 - (first * second).sum(0)) / 2
    known = first.any(0) & second.any(0) & (distance < APPEARANCE_GATE) & (overlap > APPEARANCE_OVERLAP)
    return np.where(known, distance, np.inf)


def _look(tracks: _Rows, rows: Indices, embeddings: Array) -> None:
    """Take the embeddings (D, K) of the boxes that were found of tracks ``rows``."""
    if len(tracks.embeddings) != len(embeddings):  # the first ones, or those of another network
        tracks.embeddings = np.zeros((len(embeddings), tracks.scores.size))
    old = tracks.embeddings[:, rows]
    mean = np.where(old.any(0), APPEARANCE_MEMORY * old + (1 - APPEARANCE_MEMORY) * embeddings, embeddings)
    length = np.linalg.norm(mean, axis=0)
    mean = np.divide(mean, length, out=np.zeros_like(mean), where=length > 0)
    tracks.embeddings[:, rows] = np.where(embeddings.any(0), mean, old)


def _warp(tracks: _Rows, matrix: Array) -> None:
    tracks.belief, tracks.last = kalman.warp(tracks.belief, matrix), kalman.warp(tracks.last, matrix)
    centres = tracks.centres.reshape(HISTORY, 2, -1)
    tracks.centres = (matrix[:, :2] @ centres + matrix[:, 2:]).reshape(2 * HISTORY, -1)


def _update(tracks: _Rows, rows: Indices, places: Array, scores: Array, stamp: int, noise: Noise) -> None:
    """Take the boxes (4, K) cx, cy, w, h that were found of tracks ``rows``; count what was missed."""
    counts, belief = tracks.counts[:, rows], tracks.belief[:, rows]
    back = counts[3].nonzero()[0]
    if len(back):
        belief[:, back] = _mend(tracks, rows[back], places[:, back], stamp, noise)
    belief = kalman.update(belief, places, noise)
    tracks.belief[:, rows] = belief
    tracks.last[:, rows] = belief
    tracks.centres[:, rows] = np.concatenate([tracks.centres[2:, rows], places[:2]])
    tracks.scores.fill(-1)
    tracks.scores[rows] = scores
    tracks.missed[:] += 1
    counts[2] += 1
    counts[3] = 0
    counts[5] = stamp
    tracks.counts[:, rows] = counts


def _mend(tracks: _Rows, rows: Indices, places: Array, stamp: int, noise: Noise) -> Array:
    """(11, K) prediction for tracks that were hidden, as if seen on the straight way to ``places`` (4, K)."""
    steps = np.minimum(tracks.missed[rows] + 1, MEND_STEPS)
    dt = (stamp - tracks.seen[rows]) * 1e-9 / steps
    belief = tracks.last[:, rows]
    begin = belief[kalman.PLACE].copy()
    for k in range(1, int(steps.max())):
        later = kalman.predict(belief, dt, noise)
        virtual = kalman.update(later, begin + k / steps * (places - begin), noise)
        belief = np.where(k < steps, virtual, belief)
    return kalman.predict(belief, dt, noise)


def _without_duplicates(fresh: Indices, taken: Indices, found: Boxes, limit: float) -> Indices:
    """Of the boxes ``fresh``, those that do not overlap a better one of their class, or one that has a track."""
    better, worse, _ = overlaps(found.boxes, found.boxes[fresh], limit)
    other = (better < fresh[worse]) | np.isin(better, taken)
    return np.delete(fresh, worse[other & (found.kinds[better] == found.kinds[fresh[worse]])])


def _corners(belief: Array) -> Array:
    """(N, 4) xyxy."""
    half = belief[2:4] / 2
    return np.concatenate([belief[0:2] - half, belief[0:2] + half]).T


def _no_tracks() -> _Rows:
    no = np.zeros(0, np.intp)
    return _born(np.zeros((4, 0)), np.zeros(0), _counts(no, no, 0, 0), np.zeros((0, 0)), Noise())


def _counts(ids: Indices, kinds: Indices, hits: int, stamp: int) -> Indices:
    same = np.ones(len(ids), np.intp)
    return np.stack([ids, kinds, hits * same, 0 * same, stamp * same, stamp * same])


def _born(places: Array, scores: Array, counts: Indices, looks: Array, noise: Noise) -> _Rows:
    """Tracks that begin with boxes (4, N) cx, cy, w, h."""
    belief = kalman.start(places, noise)
    return _Rows(belief, belief.copy(), np.tile(places[:2], (HISTORY, 1)), scores, counts, looks)


def _joined(first: _Rows, second: _Rows) -> _Rows:
    width = max(len(first.embeddings), len(second.embeddings))
    for rows in (first, second):
        if len(rows.embeddings) != width:
            rows.embeddings = np.zeros((width, rows.scores.size))
    pairs = zip(vars(first).values(), vars(second).values(), strict=True)
    return _Rows(*(np.concatenate(pair, -1) for pair in pairs))


def _snapshot(tracks: _Rows, stamp: int, settings: Settings) -> Tracks:
    unseen = (stamp - tracks.seen) * 1e-9
    states = STATES[(tracks.hits >= settings.confirm_after).view(np.int8)]
    hidden = tracks.missed > 0
    if hidden.any():
        states[hidden] = np.where(unseen[hidden] > settings.occluded_time, State.LOST, State.OCCLUDED)
    belief = tracks.belief.copy()
    return Tracks(
        ids=tracks.ids.copy(),
        boxes=_corners(belief),
        velocities=belief[kalman.VELOCITY].T,
        covariance=belief[kalman.COVARIANCE],
        scores=tracks.scores.copy(),
        kinds=tracks.kinds.copy(),
        states=states,
        ages=(stamp - tracks.born) * 1e-9,
        unseen=unseen,
    )
