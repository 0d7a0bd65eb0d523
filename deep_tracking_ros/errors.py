"""Errors of the package and the reply codes that they become in services and actions.

Every message says what is wrong, with the value and the limit, and what to do about it.
"""

from __future__ import annotations

from enum import IntEnum


class ErrorCode(IntEnum):
    """Reply codes; the same names and numbers as in ``msg/ErrorCode.msg``."""

    SUCCESS = 0
    INVALID_REQUEST = 1
    INVALID_BOX = 2
    OUTSIDE_IMAGE = 3
    UNKNOWN_TARGET = 4
    STAMP_NOT_BUFFERED = 5
    NO_FRAME = 6
    TOO_MANY_TARGETS = 7
    NOT_ACTIVE = 8
    MODEL_ERROR = 9
    TARGET_LOST = 10
    TIMEOUT = 11
    CANCELED = 12
    INTERNAL = 13


class DeepTrackingError(Exception):
    """Base of all errors that this package raises on purpose."""

    code = ErrorCode.INTERNAL


class InvalidRequestError(DeepTrackingError):
    """A field of a request, a parameter or an option is missing, not finite or out of its range."""

    code = ErrorCode.INVALID_REQUEST


class InvalidImageError(DeepTrackingError):
    """An image whose size, step, encoding or data do not fit together."""

    code = ErrorCode.INVALID_REQUEST


class InvalidBoxError(DeepTrackingError):
    """A box that has no area, is not finite or is too small to be followed."""

    code = ErrorCode.INVALID_BOX


class OutsideImageError(DeepTrackingError):
    """A box or point that does not touch the image."""

    code = ErrorCode.OUTSIDE_IMAGE


class UnknownTargetError(DeepTrackingError):
    """No target or point has the id that was asked for."""

    code = ErrorCode.UNKNOWN_TARGET


class StampNotBufferedError(DeepTrackingError):
    """The frame of this stamp is not (or no longer) kept."""

    code = ErrorCode.STAMP_NOT_BUFFERED


class NoFrameError(DeepTrackingError):
    """Something about the current image was asked before any image arrived."""

    code = ErrorCode.NO_FRAME


class TooManyTargetsError(DeepTrackingError):
    """One more target than ``max_targets`` allows."""

    code = ErrorCode.TOO_MANY_TARGETS


class NotActiveError(DeepTrackingError):
    """The node is configured or not, but not active."""

    code = ErrorCode.NOT_ACTIVE


class ModelError(DeepTrackingError):
    """A model that is missing, corrupt, or whose weights do not fit its architecture."""

    code = ErrorCode.MODEL_ERROR


class EngineError(DeepTrackingError):
    """A network that cannot be exported, built or run by a backend, or inputs that do not fit it."""

    code = ErrorCode.MODEL_ERROR


class DataError(DeepTrackingError):
    """A bag, video, data set or file that cannot be read as what it should be."""

    code = ErrorCode.INVALID_REQUEST
