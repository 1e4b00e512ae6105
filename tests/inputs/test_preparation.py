"""Images and videos passed by the user."""

import numpy as np
import pytest
from PIL import Image

from prompt_jax.errors import BadImage, PromptError
from prompt_jax.inputs import batching, preparation
from prompt_jax.inputs.images import transforms
from prompt_jax.inputs.preparation import Inputs
from prompt_jax.inputs.videos import sampling

IMAGES = Inputs.of(16)
VIDEOS = Inputs.of(16, frames=3, frame_rule="even")
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (6, 20, 24, 3), np.uint8)
NORMAL = RNG.normal(size=(2, 16, 16, 3)).astype(np.float32)


def prepared(item, inputs=IMAGES):
    out = np.full(inputs.shape, np.nan, np.float32)
    preparation.prepare(item, inputs, out)
    return out


def test_an_image_is_the_same_in_every_form(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(PIXELS[0]).save(path)
    expected = transforms.test_transform(Image.fromarray(PIXELS[0]), 16)
    forms = [str(path), path, Image.open(path), PIXELS[0], expected, expected.astype(np.float64)]
    for form in forms:
        np.testing.assert_array_equal(prepared(form), expected)


def test_a_video_is_the_same_in_every_form(tmp_path):
    for number, pixels in enumerate(PIXELS):
        Image.fromarray(pixels).save(tmp_path / f"{number:03}.png")
    expected = np.stack(
        [transforms.test_transform(Image.fromarray(PIXELS[place]), 16) for place in (1, 3, 5)]
    )
    frames = [Image.fromarray(pixels) for pixels in PIXELS]
    for form in (str(tmp_path), frames, tuple(frames), PIXELS, expected):
        np.testing.assert_array_equal(prepared(form, VIDEOS), expected)


def test_frames_of_several_passes_are_in_the_order_of_the_passes(tmp_path):
    inputs = Inputs.of(16, frames=4, frame_rule="centre", passes=2)
    pixels = RNG.integers(0, 256, (8, 20, 24, 3), np.uint8)
    for number, frame in enumerate(pixels):
        Image.fromarray(frame).save(tmp_path / f"{number:03}.png")
    chosen = sampling.choose("centre", 8, 4, None, passes=2).tolist()
    assert chosen == [1, 5, 2, 6]
    expected = np.stack([transforms.test_transform(Image.fromarray(pixels[n]), 16) for n in chosen])
    for form in (pixels, str(tmp_path)):
        np.testing.assert_array_equal(prepared(form, inputs), expected)


@pytest.mark.parametrize(
    "given",
    [
        {"frames": 4, "frame_rule": "even", "passes": 2},
        {"frames": 5, "frame_rule": "centre", "passes": 2},
        {"frames": 4, "frame_rule": "centre", "passes": 0},
        {"passes": 2},
    ],
)
def test_passes_that_do_not_fit_are_rejected(given):
    with pytest.raises(PromptError, match=f"passes={given['passes']} must divide frames="):
        Inputs.of(16, **given)


@pytest.mark.parametrize("mode", ["L", "P", "LA", "RGBA", "CMYK", "1", "I;16"])
def test_an_image_in_memory_equals_that_of_its_file(tmp_path, mode):
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    if mode == "I;16":
        Image.fromarray(PIXELS[0, ..., 0].astype(np.uint16) * 200).save(path)
    else:
        Image.fromarray(PIXELS[0]).convert(mode).save(path)
    with Image.open(path) as opened:
        assert opened.mode == mode
        np.testing.assert_array_equal(prepared(opened), prepared(path))


def test_an_image_is_rotated_as_its_file_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(PIXELS[0]).save(tmp_path / "a.png", exif=exif)
    turned = np.rot90(PIXELS[0], -1)
    np.testing.assert_array_equal(prepared(tmp_path / "a.png"), prepared(turned.copy()))


@pytest.mark.parametrize(
    ("what", "inputs", "number"),
    [
        ("a.png", IMAGES, 1),
        (["a.png", "b.png"], IMAGES, 2),
        (PIXELS[0], IMAGES, 1),
        (PIXELS, IMAGES, 6),
        (list(PIXELS), IMAGES, 6),
        (iter(["a.png"]), IMAGES, 1),
        (np.array(["a.png", "b.png"]), IMAGES, 2),
        (np.array(["a.png", "b.png"], object), IMAGES, 2),
        ([], IMAGES, 0),
        (PIXELS, VIDEOS, 1),
        (PIXELS[None], VIDEOS, 1),
        ([Image.new("RGB", (9, 9))] * 4, VIDEOS, 1),
        ([[Image.new("RGB", (9, 9))] * 4] * 2, VIDEOS, 2),
    ],
)
def test_one_or_several(what, inputs, number):
    assert len(preparation.as_items(what, inputs)) == number


@pytest.mark.parametrize(
    ("item", "inputs", "words"),
    [
        (PIXELS[..., 0], IMAGES, r"if these are gray images, .*: x\[\.\.\., None\]"),
        (PIXELS[0, ..., :1].T, IMAGES, r"its gray channel comes first, so move it: "),
        (np.moveaxis(PIXELS[0], -1, 0), IMAGES, r"channels come first.*np.moveaxis\(x, -3, -1\)"),
        (np.moveaxis(PIXELS, -1, 1), VIDEOS, r"channels come first"),
        (np.moveaxis(NORMAL[0], -1, 0), IMAGES, r"float32\[3, 16, 16\].*channels come first"),
        (np.dstack([PIXELS[0], PIXELS[0, ..., :1]]), IMAGES, r"fourth channel: x\[\.\.\., :3\]"),
        (PIXELS[0].astype(np.int64), IMAGES, r"int64\[20, 24, 3\].*; convert it: x\.astype"),
        (PIXELS[0] > 9, IMAGES, r"bool\[20, 24, 3\].*; convert it: x\."),
        (NORMAL[0, :8], IMAGES, r"float32\[8, 16, 3\].*float\[16, 16, 3\]"),
        (PIXELS[0, :16, :16] / 255, IMAGES, r"to 0\.99\d+; convert 0\.\.1: np\.round\(x \* 255"),
        (PIXELS[0] / 255, IMAGES, r"from 0 to 1; convert 0\.\.1: np\.round\(x \* 255\)"),
        (PIXELS[0].astype(np.uint16) * 99, IMAGES, r"scale them to 0\.\.255 and convert"),
        (9 * NORMAL[0], IMAGES, r"must be normalized .*pass uint8 of 0 to 255"),
        (PIXELS[0, :16, :16] * 1.0, IMAGES, r"from 0 to 254; convert 0\.\.255: "),
        (np.full((16, 16, 3), np.nan), IMAGES, r"NaN or infinite"),
        (3, IMAGES, r"a value of type int is not a valid image"),
        (None, VIDEOS, r"NoneType is not a valid video"),
        (
            Image.new("F", (9, 9)),
            IMAGES,
            r"mode F: its grays are floating-point .* to 8 bits",
        ),
        (Image.new("I", (9, 9)), IMAGES, r"mode I: its grays are 32-bit .*convert it to 8 bits"),
        ([], VIDEOS, r"without frames"),
        (PIXELS[:0], VIDEOS, r"uint8\[0, 20, 24, 3\]"),
    ],
)
def test_invalid_images_are_explained(item, inputs, words):
    with pytest.raises(PromptError, match=words):
        prepared(item, inputs)


class Tensor:
    """An array like PyTorch's tensors that require gradients or are bfloat16."""

    dtype, shape = "bfloat16", (9, 9, 3)

    def __array__(self, *options, **more):
        raise RuntimeError("call numpy() on it after detach()")


def test_a_tensor_that_numpy_cannot_read_is_explained():
    with pytest.raises(PromptError, match=r"Tensor of bfloat16\[9, 9, 3\].*after detach"):
        preparation.as_items(Tensor(), IMAGES)


@pytest.mark.parametrize("item", [PIXELS[0].T[0] * 1.0, np.zeros((1, 1, 2, 9, 9, 3)), 7, None])
def test_as_items_rejects_what_is_neither_one_nor_several(item):
    with pytest.raises(PromptError, match="an image is a path"):
        preparation.as_items(item, IMAGES)


@pytest.mark.parametrize(
    ("number", "on_cpu", "on_accelerator"),
    [
        (1, [1], [1]),
        (3, [1, 1, 1], [4]),
        (6, [4, 1, 1], [16]),
        (15, [16], [16]),
        (17, [16, 1], [64]),
        (63, [64], [64]),
        (130, [64, 64, 1, 1], [64, 64, 64]),
    ],
)
def test_images_are_padded_little(number, on_cpu, on_accelerator):
    sizes = batching.sizes_for(64)
    assert batching.split(number, sizes) == on_cpu
    assert batching.split(number, sizes, cheapest=False) == on_accelerator


@pytest.mark.parametrize("cheapest", [True, False])
def test_every_number_of_images_fits_with_less_padding_than_in_one_size(cheapest):
    for devices in (1, 8):
        sizes = batching.sizes_for(64, devices)
        for number in range(200):
            found = batching.split(number, sizes, cheapest)
            assert number <= sum(found) and {*found} <= {*sizes}
            if cheapest:
                assert sum(found) - number < 4 * devices
            else:
                assert len({*found}) <= 1


def test_batches_have_every_image_once():
    assert batching.sizes_for(4) == [1, 4]
    assert batching.sizes_for(64, devices=8) == [8, 16, 64]
    found = list(batching.in_batches(list(PIXELS), IMAGES, [4, 4]))
    assert [len(batch.images) for batch in found] == [4, 4]
    assert np.concatenate([batch.places for batch in found]).tolist() == list(range(6))
    np.testing.assert_array_equal(found[1].images[1], prepared(PIXELS[5]))
    assert not found[1].images[2:].any()


def test_an_unreadable_image_raises_or_is_reported():
    items = [PIXELS[0], "gone.png", PIXELS[1]]
    with pytest.raises(BadImage, match=r"gone\.png: no such file"):
        list(batching.in_batches(items, IMAGES, [4]))
    reported = []
    [batch] = batching.in_batches(items, IMAGES, [4], reported.append)
    assert batch.places.tolist() == [0, 2]
    assert [bad.image for bad in reported] == ["gone.png"]
    assert list(batch.errors) == [1]
    np.testing.assert_array_equal(batch.images[1], prepared(PIXELS[1]))


def test_an_invalid_array_among_many_is_named_or_reported():
    items = [PIXELS[0], PIXELS[0].astype(int), 3]
    with pytest.raises(PromptError, match="#1: an array of int64"):
        list(batching.in_batches(items, IMAGES, [4]))
    reported = []
    list(batching.in_batches(items, IMAGES, [4], reported.append))
    assert [bad.image for bad in reported] == ["#1", "#2"]
    assert reported[1].reason.startswith("a value of type int is not a valid image")
