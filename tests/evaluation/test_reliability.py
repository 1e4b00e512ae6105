"""Intervals and calibration error equal independent, slower computations."""

import numpy as np
import pytest

from prompt_jax.evaluation import metrics, reliability
from prompt_jax.evaluation.metrics import Ranks


def test_the_ends_of_wilson_s_interval_just_fail_the_normal_test():
    for percent, number in ((0.0, 10), (50.0, 4), (81.25, 80), (100.0, 1000)):
        share = percent / 100
        for end in reliability.wilson(percent, number):
            p = end / 100
            if 0 < p < 1:
                distance = abs(share - p) / np.sqrt(p * (1 - p) / number)
                assert distance == pytest.approx(1.959964, abs=1e-4)
    low, high = reliability.wilson(100.0, 10)
    assert (round(low, 2), high) == (72.25, 100.0)  # Brown, Cai and DasGupta, 2001


def test_the_interval_of_h_narrows_with_images_and_is_deterministic():
    few, many = (reliability.harmonic(80.0, n, 60.0, n) for n in (50, 5000))
    h = metrics.harmonic_mean(80.0, 60.0)
    assert few[0] < many[0] < h < many[1] < few[1]
    assert reliability.harmonic(80.0, 50, 60.0, 50) == few
    # By error propagation: dH = 2 (n² db + b² dn) / (b + n)².
    deviations = [np.sqrt(p * (100 - p) / 5000) for p in (80.0, 60.0)]
    spread = 2 * np.hypot(60**2 * deviations[0], 80**2 * deviations[1]) / 140**2
    assert many[1] - many[0] == pytest.approx(2 * 1.96 * spread, rel=0.06)


def test_intervals_have_a_width_at_0_and_100_percent():
    (low, high), (wide, _) = (reliability.harmonic(100.0, n, 100.0, n) for n in (50, 1))
    assert wide < low < high == 100
    low, high = reliability.harmonic(0.0, 6, 50.0, 6)
    assert low == 0 < high
    videos = np.arange(12)
    first, last = Ranks(videos * 0 + 1, videos * 0 + 1), Ranks(videos * 0 + 9, videos * 0 + 9)
    assert reliability.recall(first, videos, 1) == reliability.wilson(100.0, 12)
    assert reliability.recall(last, videos, 5) == reliability.wilson(0.0, 12)


def test_the_interval_of_recall_counts_videos_not_repeated_captions():
    rng = np.random.default_rng(1)
    rank = rng.integers(1, 4, 60)
    once = Ranks(rank, rank)
    thrice = Ranks(rank.repeat(3), rank.repeat(3))
    videos = np.arange(60)
    assert reliability.recall(once, videos, 1) == pytest.approx(
        reliability.recall(thrice, videos.repeat(3), 1)
    )
    low, high = reliability.recall(once, videos, 1)
    assert low < metrics.summarize(once).r1 < high
    assert (low, high) == pytest.approx(reliability.wilson(metrics.summarize(once).r1, 60))
    order = rng.permutation(60)
    assert reliability.recall(Ranks(rank[order], rank[order]), videos, 1) == (
        pytest.approx((low, high))
    )
    # By a bootstrap over videos whose captions are similar but not equal.
    alike = np.where(rng.random(180) < 0.7, rank.repeat(3), rng.integers(1, 4, 180))
    number = np.full(60, 1 / 60)
    hits = np.bincount(videos.repeat(3), alike == 1)
    drawn = 100 * rng.multinomial(60, number, 4000) @ hits / 180
    expected = np.percentile(drawn, (2.5, 97.5))
    found = reliability.recall(Ranks(alike, alike), videos.repeat(3), 1)
    np.testing.assert_allclose(found, expected, atol=1.5)


def test_calibration_error_is_the_mean_gap_over_fifteen_bins():
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.05, 1, 500).astype(np.float32)
    sure[:15] = np.arange(1, 16, dtype=np.float32) / 15  # the upper ends belong to their bins
    right = rng.random(500) < sure**2
    expected = 0.0
    for number in range(15):
        inside = (np.ceil(sure.astype(float) * 15) - 1).clip(0, 14) == number
        if inside.any():
            expected += inside.mean() * abs(sure[inside].mean(dtype=float) - right[inside].mean())
    assert reliability.calibration_error(sure, right) == pytest.approx(100 * expected, abs=1e-5)
    assert reliability.calibration_error(np.ones(4), np.ones(4, bool)) == 0
    assert reliability.calibration_error(np.ones(4), np.zeros(4, bool)) == 100
