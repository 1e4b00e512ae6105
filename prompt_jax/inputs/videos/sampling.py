"""Chooses the frames of a video."""

from typing import Literal, get_args

import numpy as np

from prompt_jax.errors import DataError

Rule = Literal["centre", "random", "second", "even", "segment"]
RULES: tuple[str, ...] = get_args(Rule)
# The deterministic counterpart of a random rule, for tests.
_FOR_TESTS: dict[str, Rule] = {"random": "centre", "segment": "even"}
TEST_RULES = tuple(rule for rule in RULES if rule not in _FOR_TESTS)


def for_tests(rule: Rule) -> Rule:
    """Returns the deterministic rule for test videos of a model trained with `rule`."""
    return _FOR_TESTS.get(rule, rule)


def choose(
    rule: Rule,
    count: int,
    wanted: int,
    rate: float | None,
    rng: np.random.Generator | None = None,
    passes: int = 1,
) -> np.ndarray:
    """Chooses frames by a rule, int64[wanted]; a short video repeats some.

    They are ascending, or with several passes ascending within each.

    Args:
        rule: "centre" or "random" frame of equal segments, or one frame per "second"; for action
            recognition frames at "even" distances, or a random one of each "segment".
        count: the number of frames of the video, at least 1.
        wanted: the number of frames to choose, at least 1.
        rate: frames per second; None if unknown. Only for "second".
        rng: the generator for "random" and "segment".
        passes: for "centre", how often the video is passed through, see `frames_in_passes`.

    Raises:
        DataError: the rate or `rng` is needed and missing.
    """
    if rule == "second":
        return one_a_second(count, wanted, rate)
    if rule == "centre":
        return frames_in_passes(count, wanted, passes)
    if rule == "even":
        return even_frames(count, wanted)
    if rng is None:
        raise DataError(f"random frames need a generator; choose {', '.join(TEST_RULES)}")
    if rule == "segment":
        return segment_frames(count, wanted, rng)
    return random_frames(count, wanted, rng)


def centre_frames(count: int, wanted: int) -> np.ndarray:
    """Returns the center of each of `wanted` segments of nearly equal length; int64[wanted].

    A shorter video gives all its frames and repeats the last one.

    Source: VoP's released model and X-Pool: with m = min(wanted, count) and the edges
    e_k = ⌊k · count / m⌋, frame k is ⌊(e_k + e_{k+1} - 1) / 2⌋.
    """
    edges = _edges(count, wanted)
    return _filled((edges[:-1] + edges[1:] - 1) // 2, wanted)


def frames_in_passes(count: int, wanted: int, passes: int) -> np.ndarray:
    """Returns frames of several passes through a video, one pass after the other; int64[wanted].

    Each pass takes one frame of each of `wanted` / `passes` segments; with one pass these are the
    `centre_frames`.

    Source: Prompt Switch's test, two passes: with the edges of `centre_frames` and segments of l
    frames, pass i of p takes e_k + ⌊(l - 1) / (p + 1)⌋ · i, from i = 1 on.
    """
    if passes == 1:
        return centre_frames(count, wanted)
    edges = _edges(count, wanted // passes)
    step = (edges[1:] - edges[:-1] - 1) // (passes + 1)
    chosen = [edges[:-1] + step * number for number in range(1, passes + 1)]
    return _filled(np.concatenate(chosen), wanted)


def random_frames(count: int, wanted: int, rng: np.random.Generator) -> np.ndarray:
    """Returns a random frame of each segment of `centre_frames`; int64[wanted].

    Source: temporal segment networks (Wang et al. 2016), and X-Pool's `rand`.
    """
    edges = _edges(count, wanted)
    return _filled(rng.integers(edges[:-1], edges[1:]), wanted)


def one_a_second(count: int, wanted: int, rate: float | None) -> np.ndarray:
    """Returns the first frame of every second, evenly subsampled to `wanted` if there are more.

    With fewer seconds the last frame is repeated, where CLIP4Clip pads with black frames.

    Args:
        count: the number of frames of the video.
        wanted: the number of frames to choose.
        rate: frames per second, truncated to an integer as in CLIP4Clip.

    Returns:
        int64[wanted].

    Raises:
        DataError: the rate is unknown.

    Source: CLIP4Clip (one frame a second, then linspace(0, n - 1)).
    """
    if rate is None:
        raise DataError(
            "the rule second needs the frame rate, which a directory of frames does not have; "
            "choose another rule for frames, centre or random"
        )
    seconds = np.arange(0, count, max(1, int(rate)))
    if len(seconds) > wanted:
        seconds = seconds[np.linspace(0, len(seconds) - 1, wanted, dtype=np.int64)]
    return _filled(seconds, wanted)


def even_frames(count: int, wanted: int) -> np.ndarray:
    """Returns the frame in the middle of each of `wanted` equal parts; int64[wanted].

    A shorter video repeats all its frames in turn.

    Source: mmaction's test sampling, in ViFi-CLIP: ⌊(i + 1/2) · count / wanted⌋.
    """
    return (2 * np.arange(wanted) + 1) * count // (2 * wanted)


def segment_frames(count: int, wanted: int, rng: np.random.Generator) -> np.ndarray:
    """Returns a random frame of each segment of ⌊count / wanted⌋ frames; int64[wanted].

    The remaining frames at the end are never used. A shorter video repeats all its frames evenly.

    Source: mmaction's training sampling, in ViFi-CLIP; for shorter videos round(i · count / wanted)
    modulo count, sorted here.
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
