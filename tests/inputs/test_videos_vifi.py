"""Videos of action recognition: crops, colors and views like ViFi-CLIP, and mixing of batches."""

import itertools

import numpy as np
import pytest
from PIL import Image
from video_files import grey, write_folder

from data_pipelines import loader, video_views
from data_pipelines.batches import mixing
from data_pipelines.batches.options import ReadOptions
from data_pipelines.errors import DataError
from data_pipelines.examples import Dataset, Example
from data_pipelines.videos.readers import VideoReader
from prompt_jax.errors import PromptError
from prompt_jax.inputs.augmenting import Augmentation
from prompt_jax.inputs.images import colors
from prompt_jax.inputs.images.preprocessing import Preprocessing, statistics
from prompt_jax.inputs.preparation import Inputs
from prompt_jax.inputs.videos import vifi

SIZE = 32


def noise(width=60, height=40, seed=0):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def pixels(out, stats="clip"):
    """Returns unnormalized values, from 0 to 255."""
    mean, std = map(np.array, statistics(stats))
    return (out * std + mean) * 255


class FixedGenerator:
    """A random generator that returns given values, then 0.99."""

    def __init__(self, integers, numbers=()):
        self.whole, self.numbers = iter(integers), iter(numbers)

    def integers(self, most):
        return next(self.whole)

    def random(self):
        return next(self.numbers, 0.99)


def cropped(sides, place, image, size=224, **options):
    out = np.empty((1, size, size, 3), np.float32)
    drawn = FixedGenerator([vifi._SIDES.index(sides), vifi._PLACES.index(place)])
    vifi.train_transform([image], size, drawn, out, **options)
    return pixels(out[0])


def test_crops_are_at_most_one_step_from_square():
    # mmaction's MultiScaleCrop with scales (1, .875, .75, .66) and max_wh_scale_gap 1.
    assert len(vifi._SIDES) == 10 and len(vifi._PLACES) == 5
    assert all(abs(i - j) <= 1 for i, j in vifi._SIDES)


@pytest.mark.parametrize("size", [(340, 256), (320, 240), (240, 320), (1000, 500)])
@pytest.mark.parametrize(
    ("sides", "lengths"), [((0, 0), (256, 256)), ((1, 1), (224, 224)), ((2, 3), (192, 168))]
)
def test_a_crop_equals_that_of_the_resized_whole_frame(size, sides, lengths):
    image = noise(*size)
    whole = image.resize(vifi._resized(image, 256), Image.Resampling.BILINEAR)
    assert min(whole.size) == 256
    for place in vifi._PLACES:
        # In mmaction: an offset of 0, 2 or 4 quarters of the remaining space.
        left, top = (
            2 * half * ((room - length) // 4)
            for half, room, length in zip(place, whole.size, lengths, strict=True)
        )
        box = (left, top, left + lengths[0], top + lengths[1])
        expected = whole.crop(box).resize((224, 224), Image.Resampling.BILINEAR)
        seen = cropped(sides, place, image)
        assert np.abs(seen - np.asarray(expected, np.float32)).max() <= 2.01


def test_a_side_close_to_the_size_becomes_the_size():
    # For 48 pixels the short side is int(54.86) and 7/8 of it 47; 224 is 7/8 of 256 exactly.
    assert vifi._short_side(48) == 54 and vifi._short_side(224) == 256
    image = noise(54, 54)
    expected = np.asarray(image.crop((0, 0, 48, 48)), np.float32)
    assert np.abs(cropped((1, 1), (0, 0), image, size=48) - expected).max() <= 1.01


@pytest.mark.parametrize("number", range(3))
def test_flip_jitter_and_grayscale_have_their_probabilities(number):
    image = noise()

    def look(*numbers, flip=True):
        out = np.empty((2, SIZE, SIZE, 3), np.float32)
        drawn = FixedGenerator([0, 4], numbers)
        drawn.uniform = lambda low, high: (low + high) / 2
        drawn.permutation = lambda count: range(count)
        vifi.train_transform([image] * 2, SIZE, drawn, out, flip=flip)
        return pixels(out)

    plain = look()
    if number == 0:
        np.testing.assert_array_equal(look(0.49), plain[:, :, ::-1])
        # Without flips, nothing is drawn for them.
        np.testing.assert_array_equal(look(0.99, 0.99, flip=False), plain)
    elif number == 1:
        # In the middle of its range, jitter changes values only by the rounding of HSV.
        assert np.abs(look(0.99, 0.79) - plain).max() <= 6
    else:
        grey_ = look(0.99, 0.99, 0.19)
        assert np.ptp(grey_, axis=-1).max() < 1e-3 < np.ptp(plain, axis=-1).max()


def test_jitter_differs_between_frames_and_all_else_is_shared():
    image, frames = noise(), 8
    seen = set()
    for seed in range(40):
        out = np.empty((frames, SIZE, SIZE, 3), np.float32)
        vifi.train_transform([image] * frames, SIZE, np.random.default_rng(seed), out)
        again = np.empty_like(out)
        vifi.train_transform([image] * frames, SIZE, np.random.default_rng(seed), again)
        np.testing.assert_array_equal(again, out)
        seen.add(len({frame.tobytes() for frame in out}))
    assert seen == {1, frames}


def test_jitter_changes_brightness_contrast_saturation_and_hue():
    half = Image.new("RGB", (8, 8), (200, 60, 60))
    turned = np.asarray(colors._turn_hue(half, 1 / 3))[0, 0]
    # A third of the circle: red becomes green.
    assert turned[1] == 200 and abs(int(turned[0]) - 60) <= 3 and abs(int(turned[2]) - 60) <= 3
    assert np.asarray(colors._turn_hue(half, -1 / 3))[0, 0].argmax() == 2
    rng = np.random.default_rng(0)
    many = np.stack(
        [np.asarray(colors.jitter(half, vifi.CHANGES, rng), np.float32)[0, 0] for _ in range(400)]
    )
    assert many[:, 0].min() < 140 and many[:, 0].max() == 255
    assert 185 < many[:, 0].mean() < 206 and many[:, 1].std() > 15


def test_statistics_of_imagenet():
    out = np.empty((1, SIZE, SIZE, 3), np.float32)
    vifi.test_transform(
        [Image.new("RGB", (60, 40), (124, 116, 104))],
        SIZE,
        out,
        Preprocessing(*statistics("imagenet")),
    )
    expected = (np.array([124, 116, 104]) - [123.675, 116.28, 103.53]) / [58.395, 57.12, 57.375]
    np.testing.assert_allclose(out[0, 5, 5], expected, atol=1e-5)


def test_a_test_frame_is_the_middle_without_an_eighth():
    image = noise(340, 256)
    out = np.empty((1, 224, 224, 3), np.float32)
    vifi.test_transform([image], 224, out)
    expected = np.asarray(image.crop((58, 16, 282, 240)), np.float32)
    assert np.abs(pixels(out[0]) - expected).max() < 1e-3


@pytest.mark.parametrize("size", [(48, 32), (32, 48), (32, 32)])
def test_three_crops_are_both_ends_and_the_middle(size):
    image = noise(*size)
    out = vifi.three_crops(image, SIZE, np.empty((3, SIZE, SIZE, 3), np.float32))
    whole = np.asarray(image, np.float32)
    step = ((size[0] - 32) // 2, (size[1] - 32) // 2)
    for seen, half in zip(out, (0, 2, 1), strict=True):
        left, top = half * step[0], half * step[1]
        expected = whole[top : top + 32, left : left + 32]
        assert np.abs(pixels(seen) - expected).max() < 1e-3


def test_frames_of_any_shape():
    for shape in ((1, 1), (3, 900), (2000, 1), (33, 17)):
        image = Image.new("RGB", shape, (9, 99, 199))
        out = np.empty((2, SIZE, SIZE, 3), np.float32)
        for seed in range(5):
            vifi.train_transform([image] * 2, SIZE, np.random.default_rng(seed), out)
        vifi.test_transform([image] * 2, SIZE, out)
        assert np.abs(pixels(out) - [9, 99, 199]).max() < 1e-3


FRAMES = 4


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Returns six directories of 10 to 15 frames of increasing gray, of three classes."""
    folder = tmp_path_factory.mktemp("videos")
    for i in range(6):
        write_folder(folder / str(i), count=10 + i)
    examples = tuple(Example(str(i), i % 3, "abc"[i % 3]) for i in range(6))
    return Dataset("own", "{}", examples, (), examples, VideoReader(folder), folder, kind="videos")


INPUTS = Inputs.of(SIZE, frames=FRAMES, frame_rule="centre")


def train(dataset, batch_size=6, augment="vifi", mixed_classes=3, **options):
    return loader.train_batches(
        dataset,
        dataset.train,
        INPUTS,
        batch_size,
        seed=1,
        augmentation=Augmentation(kind=augment),
        mixed_classes=mixed_classes,
        options=ReadOptions(**options),
    )


def take(batches, count):
    taken = list(itertools.islice(batches, count))
    batches.close()
    return taken


@pytest.mark.parametrize("num_threads", [0, 3])
def test_mixed_batches_depend_on_seed_and_position_only(dataset, num_threads):
    expected = take(train(dataset, num_threads=2), 4)
    for batch, other in zip(
        take(train(dataset, num_threads=num_threads), 4), expected, strict=True
    ):
        for key in ("image", "label", "row", "caption", "targets"):
            np.testing.assert_array_equal(batch[key], other[key])
    assert expected[0]["targets"].shape == (6, 3) and expected[0]["targets"].dtype == np.float32
    assert "targets" not in take(train(dataset, mixed_classes=0), 1)[0]


def test_hosts_mix_the_same_videos_if_groups_fit(dataset):
    doubled = Dataset(
        "own", "{}", dataset.train + dataset.train[:2], (), (), dataset.read, kind="videos"
    )
    whole = take(train(doubled, batch_size=8), 2)
    parts = [take(train(doubled, batch_size=8, shard_index=i, shard_count=2), 2) for i in (0, 1)]
    for batch, first, second in zip(whole, *parts, strict=True):
        for key in batch:
            np.testing.assert_array_equal(np.concatenate([first[key], second[key]]), batch[key])


def mixed(seed, count=4):
    rng = np.random.default_rng(9)
    images = rng.normal(size=(count, 2, 20, 30, 3)).astype(np.float32)
    batch = {"image": images.copy(), "label": np.arange(count, dtype=np.int32), "row": None}
    return images, mixing.mix(batch, 5, np.random.default_rng(seed))


def test_mixing_applies_the_same_weights_to_pixels_and_labels():
    cut = blended = 0
    for seed in range(40):
        images, batch = mixed(seed)
        targets, seen = batch["targets"], batch["image"]
        np.testing.assert_allclose(targets.sum(1), 1, rtol=1e-6)
        assert batch["label"].tolist() == [0, 1, 2, 3] and "row" in batch
        rng = np.random.default_rng(seed)
        is_cut, other = rng.random() < 0.5, rng.permutation(4)
        own = 0.9 * np.eye(5, dtype=np.float32)[:4] + 0.02
        if is_cut:
            share = (seen[0] == images[0]).mean() if other[0] != 0 else None
        else:
            share = rng.beta(0.8, 0.8)
            np.testing.assert_allclose(
                seen, share * images + (1 - share) * images[other], atol=1e-5
            )
        if share is not None:
            expected = share * own + (1 - share) * own[other]
            np.testing.assert_allclose(targets, expected, atol=1e-6)
            # The patch is the same in all frames.
            same = (seen[0] == images[0]).all(-1)
            assert not is_cut or (same[0] == same[1]).all()
        cut, blended = cut + is_cut, blended + (not is_cut)
    assert cut > 10 and blended > 10


def test_labels_out_of_range_are_rejected():
    with pytest.raises(DataError, match="labels are from 0 to 5; with 3 classes they must be"):
        mixing.smooth(np.array([0, 5]), 3)


def views(dataset, batch_size=4, views=4, **options):
    read = ReadOptions(**options)
    return video_views.view_batches(
        dataset, dataset.test, INPUTS, batch_size, seed=0, views=views, options=read
    )


def test_views_of_a_video_are_consecutive(dataset):
    first, second = take(views(dataset), 99)
    assert first["image"].shape == (48, FRAMES, SIZE, SIZE, 3)
    assert first["row"].tolist() == np.repeat(range(4), 12).tolist()
    assert first["label"].tolist() == np.repeat([0, 1, 2, 0], 12).tolist()
    assert second["row"].tolist() == [4] * 12 + [5] * 12 + [-1] * 24
    assert (second["label"][24:] == -1).all() and not second["image"][24:].any()
    assert {key: array.dtype for key, array in first.items()} == {
        "image": np.float32,
        "label": np.int32,
        "row": np.int32,
        "caption": np.int32,
    }
    # Three crops of the same frames, and four draws of frames, one of each segment.
    shown = pixels(first["image"]).mean((2, 3, 4)).reshape(4, 4, 3, FRAMES)
    numbers = np.round((shown - grey(0)) / 4).astype(int)
    assert (numbers == numbers[:, :, :1]).all()
    assert len({tuple(view) for view in numbers[3, :, 0]}) > 1
    for clip, length in enumerate([2, 2, 3, 3]):
        assert (numbers[clip] // length == np.arange(FRAMES)).all()
    for batch, other in zip(take(views(dataset), 9), (first, second), strict=True):
        np.testing.assert_array_equal(batch["image"], other["image"])


def test_hosts_read_parts_of_the_views(dataset):
    parts = [take(views(dataset, shard_index=i, shard_count=2), 9) for i in (0, 1)]
    for batch, first, second in zip(take(views(dataset), 9), *parts, strict=True):
        for key in batch:
            np.testing.assert_array_equal(np.concatenate([first[key], second[key]]), batch[key])


def test_the_loader_rejects_unknown_settings(dataset):
    with pytest.raises(
        DataError, match="unknown augmentation of videos 'vify'. Did you mean 'vifi'"
    ):
        train(dataset, augment="vify")
    with pytest.raises(DataError, match="mixed_classes=-1: must be 0"):
        train(dataset, mixed_classes=-1)
    with pytest.raises(DataError, match="labels are from 0 to 2; with 2 classes"):
        next(train(dataset, mixed_classes=2))
    with pytest.raises(PromptError, match="unknown crop 'none'. Available: clip, vifi"):
        Inputs.of(SIZE, frames=FRAMES, crop="none")
    with pytest.raises(DataError, match="views=0: must be 1 or more"):
        views(dataset, views=0)
    message = "own: the video 0 has 10 frames, fewer than views=11, .* set fewer views"
    with pytest.raises(DataError, match=message) as error:
        next(views(dataset, views=11))
    assert "\n" not in str(error.value)
