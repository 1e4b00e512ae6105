"""The search for the largest size that fits in memory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.plan.largest import MOST, PRECISION, Found, bisect
from experiments.plan.worker import Failed


@given(
    fixed=st.floats(0, 1e9),
    each=st.floats(0, 1e8),
    power=st.sampled_from([1.0, 1.0, 1.4]),
    cliff=st.integers(1, 10**6),
    unit=st.sampled_from([1, 4, 16]),
    start=st.integers(1, 5000),
)
def test_the_largest_size_is_found_within_an_eighth(fixed, each, power, cliff, unit, start):
    sizes = []

    def measure(size):
        sizes.append(size)
        assert size % unit == 0 and 0 < size <= max(start, MOST["classes"])
        return fixed + each * size**power + (1e12 if size > cliff else 0)

    found = bisect(measure, 16e9, start, unit, MOST["classes"])
    assert len(set(sizes)) == len(sizes) <= 30
    if found.fits:
        assert measure(found.fits) <= 16e9
    if found.exceeds:
        assert measure(found.exceeds) > 16e9
        assert found.exceeds - found.fits <= max(unit, PRECISION * found.fits)
    else:
        assert found.fits > MOST["classes"] - unit


def test_a_linear_function_is_followed_to_its_end():
    sizes = []

    def measure(size):
        sizes.append(size)
        return 1e9 + 3e7 * size

    assert bisect(measure, 16e9, 32, 4, 20_000) == (500, 560, "")
    assert sizes == [32, 64, 500, 560]


def test_a_size_that_cannot_be_compiled_ends_the_search():
    def measure(size):
        if size > 40:
            raise Failed("stopped after 900 s")
        return 1.0

    assert bisect(measure, 2.0, 32, 1, 20_000) == (32, 0, "64: stopped after 900 s")


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Found(500, 560), "500 (560 does not fit)"),
        (Found(0, 4), "none (4 does not fit)"),
        (Found(20_000, 0), "20,000 or more"),
        (Found(32, 0, "64: crashed"), "32; stopped at 64: crashed"),
    ],
)
def test_the_result_of_a_search_is_described(found, words):
    assert str(found) == words
