"""What the objects of a clip do: 33 actions, most of them in pairs that are each other's reversal.

A pair shares one motion, which one of the two shows from its end. Over the clips of a data set the
two therefore have the same frames, in opposite order: nothing but the order tells them apart, and
an average over frames cannot.
"""

import math
from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import NamedTuple

from data_pipelines.scenes.backgrounds import turn


class Pose(NamedTuple):
    """Where an object is, and how it looks, at one instant.

    Attributes:
        x, y: its centre, right and down from the picture's, in sides of the picture.
        diameter: in sides of the picture.
        angle: by which it is turned clockwise, in radians.
        opacity: 0 to 1.
    """

    x: float
    y: float
    diameter: float
    angle: float = 0.0
    opacity: float = 1.0


class Instant(NamedTuple):
    """The objects, the one at the back first, and the share of the daylight that is gone."""

    poses: tuple[Pose, ...]
    night: float = 0.0


Motion = Callable[[float, Sequence[float]], Instant]
"""(time from 0, the clip's start, to 1, its end; `DRAWS` random numbers from 0 to 1) -> Instant."""

DRAWS = 5
"""How many random numbers a motion has: size, tilt or phase, place across and down, a choice."""


class Action(NamedTuple):
    """An action that a clip shows.

    Attributes:
        motion: how its objects move.
        backwards: whether the clip shows the motion from its end.
        reversal: the action that its clips show when they are played backwards.
        phrases: what the first object is doing, in words that are all true; "{other}" stands for
            the second object. The phrases of a reversal have the same order.
        exchanged: whether the reversal shows the two objects in each other's role.
    """

    motion: Motion
    backwards: bool
    reversal: str
    phrases: tuple[str, ...]
    exchanged: bool = False

    @property
    def num_objects(self) -> int:
        """1, or 2 objects."""
        return 1 + ("{other}" in self.phrases[0])

    @property
    def timed(self) -> bool:
        """Whether its reversal has another caption, so that time alone tells the two apart."""
        return self.exchanged or ACTIONS[self.reversal] is not self


def _right(time: float, draws: Sequence[float]) -> Instant:
    size, tilt, begin, end, level = draws
    x = _between(-0.2 - 0.1 * begin, 0.2 + 0.1 * end, time)
    return _one(Pose(x, 0.3 * (level - 0.5), _small(size), _tilt(tilt)))


def _down(time: float, draws: Sequence[float]) -> Instant:
    pose = _right(time, draws).poses[0]
    return _one(pose._replace(x=pose.y, y=pose.x))


def _closer(time: float, draws: Sequence[float]) -> Instant:
    size, tilt, across, down, _ = draws
    diameter = _between(0.3, 0.8 + 0.15 * size, time)
    return _one(Pose(*_near_the_middle(across, down), diameter, _tilt(tilt)))


def _spin(time: float, draws: Sequence[float]) -> Instant:
    size, phase, across, down, _ = draws
    return _one(Pose(*_near_the_middle(across, down), _medium(size), math.tau * (time + phase)))


def _circle(time: float, draws: Sequence[float]) -> Instant:
    size, tilt, phase, radius, _ = draws
    across, down = turn(math.tau * (time + phase))
    radius = 0.23 + 0.05 * radius
    return _one(Pose(radius * across, radius * down, _small(size), _tilt(tilt)))


def _appear(time: float, draws: Sequence[float]) -> Instant:
    size, tilt, across, down, start = draws
    opacity = _progress(time, 0.1 + 0.2 * start, 0.6 + 0.2 * start)
    place = _near_the_middle(across, down)
    return _one(Pose(*place, _medium(size), _tilt(tilt), opacity))


def _fall(time: float, draws: Sequence[float]) -> Instant:
    size, tilt, across, floor, rest = draws
    fallen = _progress(time, 0, 0.7 + 0.15 * rest) ** 2
    y = _between(-0.68, 0.2 + 0.08 * floor, fallen)
    return _one(Pose(0.4 * (across - 0.5), y, _small(size), _tilt(tilt)))


def _tip_over(time: float, draws: Sequence[float]) -> Instant:
    size, rest, across, down, choice = draws
    diameter, side = _small(size), _side(choice)
    angle = math.pi / 2 * _progress(time, 0.1, 0.7 + 0.15 * rest) ** 2
    # It turns about the lower corner on the side to which it tips.
    cos, sin = turn(angle)
    x = side * diameter / 2 * (sin - cos) + 0.1 * (across - 0.5)
    y = 0.24 + 0.06 * down - diameter / 2 * (sin + cos - 1)
    return _one(Pose(x, y, diameter, side * angle))


def _enter_from_the_left(time: float, draws: Sequence[float]) -> Instant:
    size, tilt, end, level, rest = draws
    there = _progress(time, 0, 0.7 + 0.15 * rest)
    x = _between(-0.8, 0.2 * (end - 0.5), there)
    return _one(Pose(x, 0.3 * (level - 0.5), _small(size), _tilt(tilt)))


def _enter_from_the_right(time: float, draws: Sequence[float]) -> Instant:
    pose = _enter_from_the_left(time, draws).poses[0]
    return _one(pose._replace(x=-pose.x))


def _nightfall(time: float, draws: Sequence[float]) -> Instant:
    size, tilt, across, down, start = draws
    pose = Pose(*_near_the_middle(across, down), _medium(size), _tilt(tilt))
    return Instant((pose,), 0.85 * _progress(time, 0.1 * start, 0.8 + 0.2 * start))


def _meet(time: float, draws: Sequence[float]) -> Instant:
    size, level, begin, rest, choice = draws
    side, met = _side(choice), _progress(time, 0, 0.7 + 0.15 * rest)
    x = side * _between(0.5 + 0.1 * begin, 0.19, met)
    y = 0.3 * (level - 0.5)
    return Instant((Pose(x, y, _tiny(size)), Pose(-x, y, _tiny(size))))


def _shake(time: float, draws: Sequence[float]) -> Instant:
    size, phase, across, down, _ = draws
    x, y = _near_the_middle(across, down)
    sway = turn(math.tau * (3 * time + phase))[1]
    return _one(Pose(x + 0.13 * sway, y, _medium(size)))


def _swing(time: float, draws: Sequence[float]) -> Instant:
    size, phase, across, down, _ = draws
    x, y = _near_the_middle(across, down)
    angle = 0.7 * turn(math.tau * (2 * time + phase))[1]
    # As if it hung from a string.
    cos, sin = turn(angle)
    return _one(Pose(x - 0.4 * sin, y - 0.38 + 0.4 * cos, _small(size), angle))


def _bounce(time: float, draws: Sequence[float]) -> Instant:
    size, phase, across, floor, _ = draws
    height = abs(turn(math.pi * (3 * time + phase))[1])
    return _one(Pose(0.3 * (across - 0.5), 0.24 + 0.06 * floor - 0.45 * height, _small(size)))


def _blink(time: float, draws: Sequence[float]) -> Instant:
    size, phase, across, down, _ = draws
    shown = (3 * time + phase) % 1 < 0.5
    return _one(Pose(*_near_the_middle(across, down), _medium(size), opacity=float(shown)))


def _grow_and_shrink(time: float, draws: Sequence[float]) -> Instant:
    return _closer(1 - abs(2 * time - 1), draws)


def _shrink_and_grow(time: float, draws: Sequence[float]) -> Instant:
    return _closer(abs(2 * time - 1), draws)


def _swap(time: float, draws: Sequence[float]) -> Instant:
    size, direction, across, down, choice = draws
    half = math.pi * _progress(time, 0.1, 0.9)
    cos, sin = (0.27 * part for part in turn(half))
    cos, sin = _side(choice) * cos, _side(direction) * sin
    x, y = _near_the_middle(across, down)
    return Instant((Pose(x + cos, y + sin, _tiny(size)), Pose(x - cos, y - sin, _tiny(size))))


def _chase(time: float, draws: Sequence[float]) -> Instant:
    size, level, start, distance, choice = draws
    behind = _between(-0.5, 0.02, time) + 0.06 * start
    ahead = behind + 0.42 + 0.04 * distance
    y, side = 0.4 * (level - 0.5), _side(choice)
    return Instant((Pose(side * behind, y, _tiny(size)), Pose(side * ahead, y, _tiny(size))))


def _turn_into(time: float, draws: Sequence[float]) -> Instant:
    size, tilt, across, down, start = draws
    new = _progress(time, 0.1 + 0.1 * start, 0.8 + 0.1 * start)
    pose = Pose(*_near_the_middle(across, down), _medium(size), _tilt(tilt))
    return Instant((pose._replace(opacity=1 - new), pose._replace(opacity=new)))


def _one(pose: Pose) -> Instant:
    return Instant((pose,))


def _between(begin: float, end: float, share: float) -> float:
    return begin + (end - begin) * share


def _progress(time: float, begin: float, end: float) -> float:
    """0 until `begin`, 1 from `end` on."""
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


_PAIRS: tuple[tuple[Motion, str, str, tuple[str, ...], tuple[str, ...]], ...] = (
    (
        _right,
        "moving right",
        "moving left",
        ("moving right", "going to the right", "sliding to the right"),
        ("moving left", "going to the left", "sliding to the left"),
    ),
    (
        _down,
        "moving down",
        "moving up",
        ("moving down", "going down", "sliding down"),
        ("moving up", "going up", "sliding up"),
    ),
    (
        _closer,
        "coming closer",
        "going away",
        ("coming closer", "approaching", "getting bigger"),
        ("going away", "receding", "getting smaller"),
    ),
    (
        _spin,
        "spinning clockwise",
        "spinning counterclockwise",
        ("spinning clockwise", "turning clockwise", "rotating clockwise"),
        ("spinning counterclockwise", "turning counterclockwise", "rotating counterclockwise"),
    ),
    (
        _circle,
        "circling clockwise",
        "circling counterclockwise",
        ("circling clockwise", "going round clockwise", "moving round clockwise"),
        (
            "circling counterclockwise",
            "going round counterclockwise",
            "moving round counterclockwise",
        ),
    ),
    (
        _appear,
        "appearing",
        "vanishing",
        ("appearing", "fading in", "becoming visible"),
        ("vanishing", "fading out", "becoming invisible"),
    ),
    (
        _fall,
        "falling",
        "rising",
        ("falling", "dropping in from above", "falling to the ground"),
        ("rising", "flying off and away", "rising from the ground"),
    ),
    (
        _tip_over,
        "tipping over",
        "standing up",
        ("tipping over", "falling over", "lying down"),
        ("standing up", "getting up", "getting upright"),
    ),
    (
        _enter_from_the_left,
        "entering from the left",
        "leaving to the left",
        ("entering from the left", "coming in from the left", "appearing from the left"),
        ("leaving to the left", "going out to the left", "disappearing to the left"),
    ),
    (
        _enter_from_the_right,
        "entering from the right",
        "leaving to the right",
        ("entering from the right", "coming in from the right", "appearing from the right"),
        ("leaving to the right", "going out to the right", "disappearing to the right"),
    ),
    (
        _nightfall,
        "going from day to night",
        "going from night to day",
        ("going from day to night", "seen as night falls", "getting darker"),
        ("going from night to day", "seen as day breaks", "getting brighter"),
    ),
    (
        _meet,
        "meeting another",
        "parting from another",
        ("meeting a {other}", "coming together with a {other}", "joining a {other}"),
        ("parting from a {other}", "moving apart from a {other}", "leaving a {other}"),
    ),
)
_ALONE: dict[str, tuple[Motion, tuple[str, ...]]] = {
    "shaking": (_shake, ("shaking", "trembling", "shaking left and right")),
    "swinging": (_swing, ("swinging", "swinging to and fro", "rocking")),
    "bouncing": (_bounce, ("bouncing", "jumping up and down", "hopping")),
    "blinking": (_blink, ("blinking", "flashing", "flickering")),
    "growing and shrinking": (
        _grow_and_shrink,
        ("growing and shrinking", "growing, then shrinking", "coming closer and going away"),
    ),
    "shrinking and growing": (
        _shrink_and_grow,
        ("shrinking and growing", "shrinking, then growing", "going away and coming closer"),
    ),
    "swapping places": (
        _swap,
        ("swapping places with a {other}", "changing places with a {other}"),
    ),
}
_EXCHANGED: dict[str, tuple[Motion, tuple[str, ...]]] = {
    "chasing another": (_chase, ("chasing a {other}", "following a {other}", "behind a {other}")),
    "turning into another": (_turn_into, ("turning into a {other}", "becoming a {other}")),
}


def _table() -> dict[str, Action]:
    table = {}
    for motion, forwards, backwards, phrases, reversed_phrases in _PAIRS:
        table[forwards] = Action(motion, False, backwards, phrases)
        table[backwards] = Action(motion, True, forwards, reversed_phrases)
    for name, (motion, phrases) in _ALONE.items():
        table[name] = Action(motion, False, name, phrases)
    for name, (motion, phrases) in _EXCHANGED.items():
        table[name] = Action(motion, False, name, phrases, exchanged=True)
    return dict(sorted(table.items()))


ACTIONS: MappingProxyType[str, Action] = MappingProxyType(_table())
"""Name, as people say it, to action; sorted by name."""
