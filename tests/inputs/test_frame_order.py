"""The order of the frames in a directory, in the library and in exported models."""

import random

import needs_torch  # noqa: F401
import pytest

from prompt_jax.export.torch_parts import frames
from prompt_jax.inputs.videos import folders

ORDERS = [
    ("clip_0.75.jpg", "clip_1.50.jpg", "clip_2.25.jpg", "clip_3.10.jpg"),
    ("9.99.jpg", "10.00.jpg", "10.01.jpg"),
    ("img_1.jpg", "img_2.jpg", "img_10.jpg"),
    ("v1.2_0001.jpg", "v1.2_0002.jpg", "v1.2_0010.jpg"),
    ("shot7.0001.jpg", "shot7.0002.jpg", "shot7.0010.jpg"),
    ("00.00.59.jpg", "00.01.05.jpg", "01.00.00.jpg"),
]
WRONG = [
    (("1.2.jpg", "1.10.jpg"), "order of 1.10.jpg and 1.2.jpg is ambiguous"),
    (("clip_1.jpg", "clip_0.5.jpg"), "order of clip_1.jpg and clip_0.5.jpg is ambiguous"),
    (("1.5.jpg", "1.50.jpg"), "have the same number"),
    (("1.jpg", "01.jpg"), "have the same number"),
    (("1.jpg", "cover.jpg"), "cover.jpg has no number"),
]
BOTH = pytest.mark.parametrize("order", [folders.order_frames, frames.order_frames])


@BOTH
@pytest.mark.parametrize("names", ORDERS)
def test_frames_are_sorted_by_number(order, names):
    for seed in range(4):
        assert order(random.Random(seed).sample(names, len(names))) == list(names)


@BOTH
@pytest.mark.parametrize(("names", "reason"), WRONG)
def test_names_without_an_order_are_rejected(order, names, reason):
    with pytest.raises(ValueError, match=reason):
        order(names)
