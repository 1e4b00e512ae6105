"""Which frames of a video are looked at."""

from typing import Literal, get_args

import numpy as np

from prompt_jax.errors import DataError

Rule = Literal["centre", "random", "second", "even", "segment"]
RULES: tuple[str, ...] = get_args(Rule)
# Tests look at the same frames each time: those that a rule with chance in it varies.
_FOR_TESTS: dict[str, Rule] = {"random": "centre", "segment": "even"}
TEST_RULES = tuple(rule for rule in RULES if rule not in _FOR_TESTS)


def for_tests(rule: Rule) -> Rule:
    """The rule for test videos of what is trained by `rule`: the same, without chance."""
    return _FOR_TESTS.get(rule, rule)


def choose(
    rule: Rule,
    count: int,
    wanted: int,
    rate: float | None,
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """The frames that a rule picks, int64[wanted], ascending; a short video repeats some.

    Args:
        rule: "centre" of equal segments, "random" in equal segments, or one a "second"; as action
            recognition has it, at "even" distances, or one at random of each "segment".
        count: frames in the video, at least 1.
        wanted: how many are looked at, at least 1.
        rate: of the video, in frames a second; None where it is not known. Only "second" needs it.
        rng: decides where the rule is "random" or "segment", and is needed there only.

    Raises:
        DataError: the rate or `rng` is needed, and not there.
    """
    if rule == "second":
        return one_a_second(count, wanted, rate)
    if rule == "centre":
        return centre_frames(count, wanted)
    if rule == "even":
        return even_frames(count, wanted)
    if rng is None:
        raise DataError(f"frames at random need a source of chance; choose {', '.join(TEST_RULES)}")
    if rule == "segment":
        return segment_frames(count, wanted, rng)
    return random_frames(count, wanted, rng)


def centre_frames(count: int, wanted: int) -> np.ndarray:
    """The center of each of `wanted` segments, as equal as whole frames allow; int64[wanted].

    A shorter video gives all its frames, and repeats the last one.

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
        count: frames in the video.
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
            "one frame a second needs the frame rate, which a directory of frames does not say; "
            "choose another rule for frames, centre or random"
        )
    seconds = np.arange(0, count, max(1, int(rate)))
    if len(seconds) > wanted:
        seconds = seconds[np.linspace(0, len(seconds) - 1, wanted, dtype=np.int64)]
    return _filled(seconds, wanted)


def even_frames(count: int, wanted: int) -> np.ndarray:
    """The frame shown in the middle of each of `wanted` equal parts of a video; int64[wanted].

    Of a shorter video all its frames, in turn repeated.

    Source: mmaction's test sampling, in ViFi-CLIP: ⌊(i + 1/2) · count / wanted⌋.
    """
    return (2 * np.arange(wanted) + 1) * count // (2 * wanted)


def segment_frames(count: int, wanted: int, rng: np.random.Generator) -> np.ndarray:
    """One frame at random of each of `wanted` segments of ⌊count / wanted⌋ frames; int64[wanted].

    What is left at the end is never shown. A shorter video gives all its frames, evenly repeated.

    Source: mmaction's training sampling, in ViFi-CLIP; for shorter videos round(i · count / wanted)
    modulo count, put into order here.
    """
    length = count // wanted
    if length:
        return np.arange(wanted) * length + rng.integers(length, size=wanted)
    return np.sort(np.round(np.arange(wanted) * (count / wanted)).astype(np.int64) % count)


def _edges(count: int, wanted: int) -> np.ndarray:
    segments = min(wanted, count)
    return np.arange(segments + 1) * count // segments


def _filled(frames: np.ndarray, wanted: int) -> np.ndarray:
    return np.pad(frames, (0, wanted - len(frames)), mode="edge")
