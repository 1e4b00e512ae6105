"""The 33 actions of the embedded videos, most of them in pairs that are reversals of each other.

A pair shares one motion, played forwards or backwards. Over a data set both therefore have the same
frames in reverse order: only temporal order distinguishes them, and an average over frames cannot.
"""

from types import MappingProxyType
from typing import NamedTuple

from data_pipelines.scenes import motions
from data_pipelines.scenes.motions import Motion


class Action(NamedTuple):
    """An action that a video shows.

    Attributes:
        motion: the motion of its objects.
        backwards: whether the motion is played backwards.
        reversal: the action of its videos when played backwards.
        phrases: equivalent descriptions of the first object's action; "{other}" is the second
            object. The phrases of a reversal are in the same order.
        exchanged: whether the reversal exchanges the roles of the two objects.
    """

    motion: Motion
    backwards: bool
    reversal: str
    phrases: tuple[str, ...]
    exchanged: bool = False

    @property
    def num_objects(self) -> int:
        """The number of objects, 1 or 2."""
        return 1 + ("{other}" in self.phrases[0])

    @property
    def timed(self) -> bool:
        """Whether its reversal has another caption, so that only temporal order differs."""
        return self.exchanged or ACTIONS[self.reversal] is not self


_PAIRS: tuple[tuple[Motion, str, str, tuple[str, ...], tuple[str, ...]], ...] = (
    (
        motions.right,
        "moving right",
        "moving left",
        ("moving right", "going to the right", "sliding to the right"),
        ("moving left", "going to the left", "sliding to the left"),
    ),
    (
        motions.down,
        "moving down",
        "moving up",
        ("moving down", "going down", "sliding down"),
        ("moving up", "going up", "sliding up"),
    ),
    (
        motions.closer,
        "coming closer",
        "going away",
        ("coming closer", "approaching", "getting bigger"),
        ("going away", "receding", "getting smaller"),
    ),
    (
        motions.spin,
        "spinning clockwise",
        "spinning counterclockwise",
        ("spinning clockwise", "turning clockwise", "rotating clockwise"),
        ("spinning counterclockwise", "turning counterclockwise", "rotating counterclockwise"),
    ),
    (
        motions.circle,
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
        motions.appear,
        "appearing",
        "vanishing",
        ("appearing", "fading in", "becoming visible"),
        ("vanishing", "fading out", "becoming invisible"),
    ),
    (
        motions.fall,
        "falling",
        "rising",
        ("falling", "dropping in from above", "falling to the ground"),
        ("rising", "flying off and away", "rising from the ground"),
    ),
    (
        motions.tip_over,
        "tipping over",
        "standing up",
        ("tipping over", "falling over", "lying down"),
        ("standing up", "getting up", "getting upright"),
    ),
    (
        motions.enter_from_the_left,
        "entering from the left",
        "leaving to the left",
        ("entering from the left", "coming in from the left", "appearing from the left"),
        ("leaving to the left", "going out to the left", "disappearing to the left"),
    ),
    (
        motions.enter_from_the_right,
        "entering from the right",
        "leaving to the right",
        ("entering from the right", "coming in from the right", "appearing from the right"),
        ("leaving to the right", "going out to the right", "disappearing to the right"),
    ),
    (
        motions.nightfall,
        "going from day to night",
        "going from night to day",
        ("going from day to night", "seen as night falls", "getting darker"),
        ("going from night to day", "seen as day breaks", "getting brighter"),
    ),
    (
        motions.meet,
        "meeting another",
        "parting from another",
        ("meeting a {other}", "coming together with a {other}", "joining a {other}"),
        ("parting from a {other}", "moving apart from a {other}", "leaving a {other}"),
    ),
)
_ALONE: dict[str, tuple[Motion, tuple[str, ...]]] = {
    "shaking": (motions.shake, ("shaking", "trembling", "shaking left and right")),
    "swinging": (motions.swing, ("swinging", "swinging to and fro", "rocking")),
    "bouncing": (motions.bounce, ("bouncing", "jumping up and down", "hopping")),
    "blinking": (motions.blink, ("blinking", "flashing", "flickering")),
    "growing and shrinking": (
        motions.grow_and_shrink,
        ("growing and shrinking", "growing, then shrinking", "coming closer and going away"),
    ),
    "shrinking and growing": (
        motions.shrink_and_grow,
        ("shrinking and growing", "shrinking, then growing", "going away and coming closer"),
    ),
    "swapping places": (
        motions.swap,
        ("swapping places with a {other}", "changing places with a {other}"),
    ),
}
_EXCHANGED: dict[str, tuple[Motion, tuple[str, ...]]] = {
    "chasing another": (
        motions.chase,
        ("chasing a {other}", "following a {other}", "behind a {other}"),
    ),
    "turning into another": (motions.turn_into, ("turning into a {other}", "becoming a {other}")),
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
"""Action by name, sorted."""
