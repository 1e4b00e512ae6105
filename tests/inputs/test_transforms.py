"""Pixels equal CLIP's preprocessing; random crops have the right distribution."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data_pipelines.images.readers import open_image
from prompt_jax.inputs.images import preprocessing, transforms

SIDES = st.integers(1, 400)


def noise(width, height, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def reference(image, size):
    """Implements CLIP's steps one by one, with torchvision's rounding rules."""
    width, height = image.size
    if width <= height:
        resized = image.resize((size, int(size * height / width)), Image.Resampling.BICUBIC)
    else:
        resized = image.resize((int(size * width / height), size), Image.Resampling.BICUBIC)
    top = int(round((resized.height - size) / 2.0))
    left = int(round((resized.width - size) / 2.0))
    pixels = np.asarray(resized)[top : top + size, left : left + size] / np.float32(255)
    mean, std = np.float32(preprocessing.CLIP_MEAN), np.float32(preprocessing.CLIP_STD)
    return (pixels - mean) / std


@pytest.mark.parametrize(
    "shape", [(60, 40), (40, 61), (32, 32), (35, 32), (32, 37), (300, 20), (7, 9)]
)
def test_the_test_transform_equals_clip_s(shape):
    image = noise(*shape)
    result = transforms.test_transform(image, 32)
    assert result.dtype == np.float32 and result.shape == (32, 32, 3)
    np.testing.assert_array_equal(result, reference(image, 32))


def test_known_values_are_kept():
    # A single color: resampling changes nothing, so the values follow from CLIP's formula alone.
    result = transforms.test_transform(Image.new("RGB", (50, 70), (255, 0, 128)), 16)
    expected = [(1 - 0.48145466) / 0.26862954, -0.4578275 / 0.26130258]
    expected.append((128 / 255 - 0.40821073) / 0.27577711)
    np.testing.assert_allclose(result, np.broadcast_to(expected, (16, 16, 3)), rtol=1e-5)


@given(width=SIDES, height=SIDES, seed=st.integers(0, 2**32 - 1))
@settings(max_examples=200, deadline=None)
def test_a_random_box_is_inside_and_keeps_area_and_ratio(width, height, seed):
    left, top, right, bottom = transforms.random_box(width, height, np.random.default_rng(seed))
    assert 0 <= left < right <= width and 0 <= top < bottom <= height
    w, h = right - left, bottom - top
    # Sides are rounded to pixels, so each may be half a pixel off (one, for the smallest).
    assert (w - 1) / (h + 1) < 4 / 3 and (h - 1) / (w + 1) < 4 / 3
    if 3 / 4 <= width / height <= 4 / 3:
        assert (w + 1) * (h + 1) > 0.08 * width * height


def test_long_thin_images_use_the_center_crop():
    assert transforms.random_box(1000, 3, np.random.default_rng(0)) == (498, 0, 502, 3)
    assert transforms.random_box(3, 1000, np.random.default_rng(0)) == (0, 498, 3, 502)


def test_crop_areas_and_flips_have_the_right_distribution():
    rng = np.random.default_rng(0)
    boxes = [transforms.random_box(300, 300, rng) for _ in range(2000)]
    areas = np.array([(r - x) * (b - y) / 90000 for x, y, r, b in boxes])
    # Boxes near the full area often do not fit and are redrawn, so the mean is below .54.
    assert 0.4 < areas.mean() < 0.54 and areas.min() < 0.1 and areas.max() > 0.9

    dark_left = Image.fromarray(np.tile(np.arange(64, dtype=np.uint8)[None, :, None], (64, 1, 3)))
    results = [transforms.train_transform(dark_left, 8, rng) for _ in range(400)]
    flipped = np.mean([r[0, 0, 0] > r[0, -1, 0] for r in results])
    assert abs(flipped - 0.5) < 4 * math.sqrt(0.25 / 400)


def test_the_train_transform_is_a_function_of_its_generator():
    image = noise(50, 40)
    first, again, other = (
        transforms.train_transform(image, 16, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert first.dtype == np.float32 and first.shape == (16, 16, 3)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def levels(result):
    """Converts normalized values back to 0..255."""
    mean, std = np.asarray(preprocessing.CLIP_MEAN), np.asarray(preprocessing.CLIP_STD)
    return np.round((result * std + mean) * 255).astype(int)


def torchvision_levels(image, size):
    """Applies torchvision's `Resize(size, BICUBIC)` and `CenterCrop(size)`; returns uint8."""
    short, long = sorted(image.size)
    new = (size, int(size * long / short))
    image = image.resize(new if image.width <= image.height else new[::-1], Image.BICUBIC)
    top, left = round((image.height - size) / 2.0), round((image.width - size) / 2.0)
    return np.asarray(image.crop((left, top, left + size, top + size))).astype(int)


ODD_SIZES = [(1, 1), (1, 50), (50, 1), (2, 333), (999, 7), (31, 33), (225, 224), (500, 375)]


@pytest.mark.parametrize("shape", ODD_SIZES)
@pytest.mark.parametrize("size", [16, 33, 224])
def test_pixels_equal_torchvision_for_odd_sizes(shape, size):
    image = noise(*shape)
    np.testing.assert_array_equal(
        levels(transforms.test_transform(image, size)), torchvision_levels(image, size)
    )


@pytest.fixture(scope="module")
def real_images(shared):
    folders = [shared / "data" / folder for folder in ("caltech-101", "dtd", "imagenet/images")]
    files = [file for folder in folders for file in sorted(folder.rglob("*.jpg"))[::97]]
    if not files:
        pytest.skip(f"no real images in {shared / 'data'}")
    return [open_image(file) for file in files[:30]]


def test_pixels_equal_torchvision_for_real_images(real_images):
    for image in real_images:
        np.testing.assert_array_equal(
            levels(transforms.test_transform(image, 224)), torchvision_levels(image, 224)
        )


def test_pixels_equal_the_hugging_face_processor(real_images):
    processing = pytest.importorskip("transformers.models.clip.image_processing_pil_clip")
    # It rounds the crop's offset down, torchvision to even, so the crop is computed here.
    processor = processing.CLIPImageProcessorPil(do_center_crop=False)
    for image in real_images:
        resized = processor(image, return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)
        top, left = (round((side - 224) / 2.0) for side in resized.shape[:2])
        expected = resized[top : top + 224, left : left + 224]
        result = transforms.test_transform(image, 224)
        np.testing.assert_array_equal(levels(result), levels(expected))
        np.testing.assert_allclose(result, expected, atol=1e-5)


def test_results_can_be_written_in_place():
    out = np.full((2, 16, 16, 3), np.nan, np.float32)
    result = transforms.test_transform(noise(30, 20), 16, out=out[1])
    assert np.isnan(out[0]).all()
    np.testing.assert_array_equal(out[1], transforms.test_transform(noise(30, 20), 16))
    assert np.shares_memory(result, out)


@pytest.mark.parametrize("shape", [(60000, 1), (1, 60000), (3000, 11), (5, 1400)])
def test_the_ends_of_very_long_images_are_not_resized(shape, monkeypatch):
    # Waves along both sides make a shift of the crop visible.
    x, y = np.meshgrid(*(np.arange(side) / min(shape) for side in shape))
    waves = np.stack([np.sin(2 * x), np.cos(3 * x), np.sin(2 * y + x)], -1)
    image = Image.fromarray((127 + 100 * waves).astype(np.uint8))
    expected = levels(reference(image, 8))
    sizes = []
    resize = Image.Image.resize

    def recorded(self, size, *args):
        sizes.append(size)
        return resize(self, size, *args)

    monkeypatch.setattr(Image.Image, "resize", recorded)
    result = levels(transforms.test_transform(image, 8))
    assert max(sizes[0]) <= 8 * 256
    # The middle is the same, except for rounding the length that is cut off.
    assert np.abs(result - expected).max() <= 25
