"""Which frames of a clip are looked at."""

from typing import Literal, get_args

import numpy as np

from data_pipelines.errors import DataError

Rule = Literal["centre", "random", "second"]
RULES: tuple[str, ...] = get_args(Rule)
# Tests look at the same frames each time.
TEST_RULES = ("centre", "second")


def choose(
    rule: Rule,
    count: int,
    wanted: int,
    rate: float | None,
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """The frames that a rule picks, int64[wanted], ascending; the last one may be repeated.

    Args:
        rule: "centre" of equal segments, "random" in equal segments, or one a "second".
        count: frames in the clip, at least 1.
        wanted: how many are looked at, at least 1.
        rate: of the clip, in frames a second; None where it is not known. Only "second" needs it.
        rng: decides where the rule is "random", and is needed there only.

    Raises:
        DataError: the rate or `rng` is needed, and not there.
    """
    if rule == "second":
        return one_a_second(count, wanted, rate)
    if rule == "centre":
        return centre_frames(count, wanted)
    if rng is None:
        raise DataError("frames at random need a source of chance; choose centre or second")
    return random_frames(count, wanted, rng)


def centre_frames(count: int, wanted: int) -> np.ndarray:
    """The centre of each of `wanted` segments, as equal as whole frames allow; int64[wanted].

    A shorter clip gives all its frames, and repeats the last one.

    Source: VoP's released model and X-Pool: with m = min(wanted, count) and the edges
    e_k = ⌊k · count / m⌋, frame k is ⌊(e_k + e_{k+1} - 1) / 2⌋.
    """
    edges = _edges(count, wanted)
    return _filled((edges[:-1] + edges[1:] - 1) // 2, wanted)


def random_frames(count: int, wanted: int, rng: np.random.Generator) -> np.ndarray:
    """One frame of each segment of `centre_frames`, at random; int64[wanted].

    Source: temporal segment networks (Wang et al. 2016), and X-Pool's `rand`.
    """
    edges = _edges(count, wanted)
    return _filled(rng.integers(edges[:-1], edges[1:]), wanted)


def one_a_second(count: int, wanted: int, rate: float | None) -> np.ndarray:
    """The first frame of every second, and of more than `wanted` of those so many, evenly spread.

    Fewer seconds than `wanted` repeat the last frame, where CLIP4Clip pads with black ones.

    Args:
        count: frames in the clip.
        wanted: how many are looked at.
        rate: frames a second; its fraction is cut off, as there.

    Returns:
        int64[wanted].

    Raises:
        DataError: the rate is not known.

    Source: CLIP4Clip (one frame a second, then linspace(0, n - 1)).
    """
    if rate is None:
        raise DataError(
            "one frame a second needs the frame rate, which a folder of frames does not say; "
            "choose another rule for frames, centre or random"
        )
    seconds = np.arange(0, count, max(1, int(rate)))
    if len(seconds) > wanted:
        seconds = seconds[np.linspace(0, len(seconds) - 1, wanted, dtype=np.int64)]
    return _filled(seconds, wanted)


def _edges(count: int, wanted: int) -> np.ndarray:
    segments = min(wanted, count)
    return np.arange(segments + 1) * count // segments


def _filled(frames: np.ndarray, wanted: int) -> np.ndarray:
    return np.pad(frames, (0, wanted - len(frames)), mode="edge")
