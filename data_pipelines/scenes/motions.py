"""Motions of the objects of a video, as functions of time.

Sines and cosines are rounded by `turn`, so that all platforms draw the same frames.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from data_pipelines.scenes.backgrounds import turn


class Pose(NamedTuple):
    """The pose of an object at one time.

    Attributes:
        x, y: its center relative to the image's, right and down, as a share of the side.
        diameter: as a share of the side.
        angle: clockwise rotation in radians.
        opacity: 0 to 1.
    """

    x: float
    y: float
    diameter: float
    angle: float = 0.0
    opacity: float = 1.0


class Instant(NamedTuple):
    """The objects at one time, back to front, and the share of missing daylight."""

    poses: tuple[Pose, ...]
    night: float = 0.0


Motion = Callable[[float, Sequence[float]], Instant]
"""(time from 0 to 1, `DRAWS` random numbers from 0 to 1) -> Instant."""

DRAWS = 5
"""Random numbers of a motion: size, tilt or phase, horizontal and vertical position, a choice."""


def right(time: float, draws: Sequence[float]) -> Instant:
    """Moves from left to right at constant speed."""
    size, tilt, begin, end, level = draws
    x = _between(-0.2 - 0.1 * begin, 0.2 + 0.1 * end, time)
    return _one(Pose(x, 0.3 * (level - 0.5), _small(size), _tilt(tilt)))


def down(time: float, draws: Sequence[float]) -> Instant:
    """Moves from top to bottom at constant speed."""
    pose = right(time, draws).poses[0]
    return _one(pose._replace(x=pose.y, y=pose.x))


def closer(time: float, draws: Sequence[float]) -> Instant:
    """Grows to about three times its size."""
    size, tilt, across, down, _ = draws
    diameter = _between(0.3, 0.8 + 0.15 * size, time)
    return _one(Pose(*_near_the_middle(across, down), diameter, _tilt(tilt)))


def spin(time: float, draws: Sequence[float]) -> Instant:
    """Rotates once, clockwise."""
    size, phase, across, down, _ = draws
    return _one(Pose(*_near_the_middle(across, down), _medium(size), math.tau * (time + phase)))


def circle(time: float, draws: Sequence[float]) -> Instant:
    """Circles the middle once, clockwise, upright."""
    size, tilt, phase, radius, _ = draws
    across, down = turn(math.tau * (time + phase))
    radius = 0.23 + 0.05 * radius
    return _one(Pose(radius * across, radius * down, _small(size), _tilt(tilt)))


def appear(time: float, draws: Sequence[float]) -> Instant:
    """Fades in."""
    size, tilt, across, down, start = draws
    opacity = _progress(time, 0.1 + 0.2 * start, 0.6 + 0.2 * start)
    place = _near_the_middle(across, down)
    return _one(Pose(*place, _medium(size), _tilt(tilt), opacity))


def fall(time: float, draws: Sequence[float]) -> Instant:
    """Falls from above the image to the ground, accelerating."""
    size, tilt, across, floor, rest = draws
    fallen = _progress(time, 0, 0.7 + 0.15 * rest) ** 2
    y = _between(-0.68, 0.2 + 0.08 * floor, fallen)
    return _one(Pose(0.4 * (across - 0.5), y, _small(size), _tilt(tilt)))


def tip_over(time: float, draws: Sequence[float]) -> Instant:
    """Tips over to its left or right side, accelerating."""
    size, rest, across, down, choice = draws
    diameter, side = _small(size), _side(choice)
    angle = math.pi / 2 * _progress(time, 0.1, 0.7 + 0.15 * rest) ** 2
    # It rotates about the lower corner on the side to which it tips.
    cos, sin = turn(angle)
    x = side * diameter / 2 * (sin - cos) + 0.1 * (across - 0.5)
    y = 0.24 + 0.06 * down - diameter / 2 * (sin + cos - 1)
    return _one(Pose(x, y, diameter, side * angle))


def enter_from_the_left(time: float, draws: Sequence[float]) -> Instant:
    """Enters from outside to about the middle, where it stays."""
    size, tilt, end, level, rest = draws
    there = _progress(time, 0, 0.7 + 0.15 * rest)
    x = _between(-0.8, 0.2 * (end - 0.5), there)
    return _one(Pose(x, 0.3 * (level - 0.5), _small(size), _tilt(tilt)))


def enter_from_the_right(time: float, draws: Sequence[float]) -> Instant:
    """Mirrors `enter_from_the_left`."""
    pose = enter_from_the_left(time, draws).poses[0]
    return _one(pose._replace(x=-pose.x))


def nightfall(time: float, draws: Sequence[float]) -> Instant:
    """Darkens the scene; the object does not move."""
    size, tilt, across, down, start = draws
    pose = Pose(*_near_the_middle(across, down), _medium(size), _tilt(tilt))
    return Instant((pose,), 0.85 * _progress(time, 0.1 * start, 0.8 + 0.2 * start))


def meet(time: float, draws: Sequence[float]) -> Instant:
    """Moves two objects from the sides until they nearly touch."""
    size, level, begin, rest, choice = draws
    side, met = _side(choice), _progress(time, 0, 0.7 + 0.15 * rest)
    x = side * _between(0.5 + 0.1 * begin, 0.19, met)
    y = 0.3 * (level - 0.5)
    return Instant((Pose(x, y, _tiny(size)), Pose(-x, y, _tiny(size))))


def shake(time: float, draws: Sequence[float]) -> Instant:
    """Shakes left and right three times."""
    size, phase, across, down, _ = draws
    x, y = _near_the_middle(across, down)
    sway = turn(math.tau * (3 * time + phase))[1]
    return _one(Pose(x + 0.13 * sway, y, _medium(size)))


def swing(time: float, draws: Sequence[float]) -> Instant:
    """Swings twice like a pendulum."""
    size, phase, across, down, _ = draws
    x, y = _near_the_middle(across, down)
    angle = 0.7 * turn(math.tau * (2 * time + phase))[1]
    cos, sin = turn(angle)
    return _one(Pose(x - 0.4 * sin, y - 0.38 + 0.4 * cos, _small(size), angle))


def bounce(time: float, draws: Sequence[float]) -> Instant:
    """Bounces from the ground three times."""
    size, phase, across, floor, _ = draws
    height = abs(turn(math.pi * (3 * time + phase))[1])
    return _one(Pose(0.3 * (across - 0.5), 0.24 + 0.06 * floor - 0.45 * height, _small(size)))


def blink(time: float, draws: Sequence[float]) -> Instant:
    """Blinks three times."""
    size, phase, across, down, _ = draws
    shown = (3 * time + phase) % 1 < 0.5
    return _one(Pose(*_near_the_middle(across, down), _medium(size), opacity=float(shown)))


def grow_and_shrink(time: float, draws: Sequence[float]) -> Instant:
    """Plays `closer` forwards, then backwards."""
    return closer(1 - abs(2 * time - 1), draws)


def shrink_and_grow(time: float, draws: Sequence[float]) -> Instant:
    """Plays `closer` backwards, then forwards."""
    return closer(abs(2 * time - 1), draws)


def swap(time: float, draws: Sequence[float]) -> Instant:
    """Moves two objects on a half circle to each other's position."""
    size, direction, across, down, choice = draws
    half = math.pi * _progress(time, 0.1, 0.9)
    cos, sin = (0.27 * part for part in turn(half))
    cos, sin = _side(choice) * cos, _side(direction) * sin
    x, y = _near_the_middle(across, down)
    return Instant((Pose(x + cos, y + sin, _tiny(size)), Pose(x - cos, y - sin, _tiny(size))))


def chase(time: float, draws: Sequence[float]) -> Instant:
    """Moves two objects left or right, the first behind the second."""
    size, level, start, distance, choice = draws
    behind = _between(-0.5, 0.02, time) + 0.06 * start
    ahead = behind + 0.42 + 0.04 * distance
    y, side = 0.4 * (level - 0.5), _side(choice)
    return Instant((Pose(side * behind, y, _tiny(size)), Pose(side * ahead, y, _tiny(size))))


def turn_into(time: float, draws: Sequence[float]) -> Instant:
    """Fades the first object into the second."""
    size, tilt, across, down, start = draws
    new = _progress(time, 0.1 + 0.1 * start, 0.8 + 0.1 * start)
    pose = Pose(*_near_the_middle(across, down), _medium(size), _tilt(tilt))
    return Instant((pose._replace(opacity=1 - new), pose._replace(opacity=new)))


def _one(pose: Pose) -> Instant:
    return Instant((pose,))


def _between(begin: float, end: float, share: float) -> float:
    return begin + (end - begin) * share


def _progress(time: float, begin: float, end: float) -> float:
    """Returns 0 until `begin`, 1 from `end` on, and linear between."""
    return min(max((time - begin) / (end - begin), 0.0), 1.0)


def _near_the_middle(across: float, down: float) -> tuple[float, float]:
    return 0.14 * (across - 0.5), 0.14 * (down - 0.5)


def _side(choice: float) -> int:
    return 1 if choice < 0.5 else -1


def _tilt(draw: float) -> float:
    return 0.5 * (draw - 0.5)


def _tiny(draw: float) -> float:
    return 0.36 + 0.05 * draw


def _small(draw: float) -> float:
    return 0.42 + 0.1 * draw


def _medium(draw: float) -> float:
    return 0.56 + 0.14 * draw
