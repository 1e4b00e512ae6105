"""The rules that choose frames of a video."""

import numpy as np
import pytest

from data_pipelines.errors import DataError
from prompt_jax.inputs.videos import sampling

# Number of frames, and the twelve that VoP's released model reads.
RELEASED = {
    1: [0] * 12,
    2: [0] + [1] * 11,
    5: [0, 1, 2, 3] + [4] * 8,
    13: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
    25: [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 23],
    100: [3, 11, 20, 28, 36, 45, 53, 61, 70, 78, 86, 95],
    299: [11, 36, 61, 86, 111, 136, 161, 186, 211, 236, 261, 286],
    5400: [224, 674, 1124, 1574, 2024, 2474, 2924, 3374, 3824, 4274, 4724, 5174],
}


@pytest.mark.parametrize("count", RELEASED)
def test_center_frames_equal_those_of_the_released_model(count):
    assert sampling.choose("centre", count, 12, None).tolist() == RELEASED[count]


@pytest.mark.parametrize("count", RELEASED)
def test_one_pass_takes_the_center_frames(count):
    assert sampling.choose("centre", count, 12, None, passes=1).tolist() == RELEASED[count]


@pytest.mark.parametrize("count", [6, 30, 100])
def test_passes_take_frames_of_the_same_segments_at_equal_distances(count):
    passes = sampling.choose("centre", count, 12, None, passes=3).reshape(3, 4)
    edges = np.arange(5) * count // 4
    assert ((edges[:-1] <= passes) & (passes < edges[1:])).all()
    steps = np.diff(passes, axis=0)
    assert (steps == (edges[1:] - edges[:-1] - 1) // 4).all()


@pytest.mark.parametrize("count", [1, 3, 12, 13, 100])
def test_each_segment_has_one_random_frame(count):
    rng = np.random.default_rng(0)
    drawn = np.array([sampling.random_frames(count, 12, rng) for _ in range(300)])
    segments = min(count, 12)
    edges = np.arange(segments + 1) * count // segments
    for k in range(segments):
        # Every frame of a segment occurs in 300 draws of at most nine.
        assert set(drawn[:, k]) == set(range(edges[k], edges[k + 1]))
    assert (drawn[:, segments:] == count - 1).all()
    again = sampling.random_frames(count, 12, np.random.default_rng(0))
    assert again.tolist() == drawn[0].tolist()


def test_one_a_second_rounds_the_frame_rate():
    assert sampling.one_a_second(100, 5, 29.97).tolist() == [0, 29, 58, 87, 87]
    # Eleven seconds: linspace(0, 10, 4) without fractions.
    assert sampling.one_a_second(1100, 4, 100.0).tolist() == [0, 300, 600, 1000]
    # Less than a frame per second: all of them.
    assert sampling.one_a_second(3, 4, 0.5).tolist() == [0, 1, 2, 2]
    with pytest.raises(DataError, match=r"needs the frame rate.* choose another rule"):
        sampling.choose("second", 100, 4, None)
    with pytest.raises(DataError, match="need a generator"):
        sampling.choose("random", 100, 4, 25.0)


# Test frames of ViFi-CLIP's code (mmaction's, test_mode) by number of frames.
EVEN = {
    1: [0, 0, 0, 0],
    3: [0, 1, 1, 2],
    4: [0, 1, 2, 3],
    10: [1, 3, 6, 8],
    300: [37, 112, 187, 262],
}


@pytest.mark.parametrize("count", EVEN)
def test_even_frames_equal_those_of_action_recognition(count):
    assert sampling.choose("even", count, 4, None).tolist() == EVEN[count]


def test_segments_have_whole_frames_and_short_videos_repeat_evenly():
    rng = np.random.default_rng(0)
    drawn = np.array([sampling.choose("segment", 19, 4, None, rng) for _ in range(200)])
    for k in range(4):
        assert set(drawn[:, k]) == set(range(4 * k, 4 * k + 4))
    assert sampling.segment_frames(4, 4, rng).tolist() == [0, 1, 2, 3]
    # round(i * 3 / 8) modulo 3, sorted; the last index wraps around.
    assert sampling.segment_frames(3, 8, rng).tolist() == [0, 0, 0, 1, 1, 2, 2, 2]
    assert sampling.segment_frames(1, 3, rng).tolist() == [0, 0, 0]
    with pytest.raises(DataError, match="need a generator; choose centre, second, even"):
        sampling.choose("segment", 19, 4, None)


def test_rules_for_tests_are_deterministic():
    kept = {rule: sampling.for_tests(rule) for rule in sampling.RULES}
    assert kept["random"] == "centre" and kept["segment"] == "even"
    assert set(kept.values()) == set(sampling.TEST_RULES)
