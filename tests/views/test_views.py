"""Several views of a training image: what is drawn, and that only the seed and place decide it."""

import itertools
import json

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageOps

from data_pipelines import loader
from data_pipelines.batches.options import ReadOptions
from data_pipelines.errors import DataError
from data_pipelines.examples import Dataset, Example
from data_pipelines.images.readers import FolderReader
from prompt_jax import methods
from prompt_jax.errors import PromptError
from prompt_jax.inputs.augmenting import Augmentation, augment
from prompt_jax.inputs.draws import TRAINING, generator
from prompt_jax.inputs.images import augmix, colors, transforms, views
from prompt_jax.inputs.images.preprocessing import CLIP
from prompt_jax.inputs.preparation import Inputs

COUNT, SIZE = 6, 24
NAMES = ("recipe", "crop_color", "augmix", "crop_perspective", "center")
DRAWN = Augmentation(views=NAMES)


def picture(width=60, height=40, seed=0):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for i in range(COUNT):
        picture(seed=i).save(folder / f"{i}.png")
    examples = tuple(Example(f"{i}.png", i, str(i)) for i in range(COUNT))
    return Dataset("noise", "{}", examples, (), examples, FolderReader(folder), folder)


def train(dataset, how=DRAWN, **options):
    read = ReadOptions(**options)
    inputs = Inputs.of(SIZE)
    return loader.train_batches(
        dataset, dataset.train, inputs, 4, 1, augmentation=how, options=read
    )


def take(batches, count):
    taken = list(itertools.islice(batches, count))
    batches.close()
    return taken


def drawn(name, image, seed, flip=True, size=SIZE):
    out = np.empty((size, size, 3), np.float32)
    views.VIEWS[name](image, size, np.random.default_rng(seed), out, flip, CLIP)
    return out


def test_batches_have_an_axis_of_views_and_the_first_is_that_of_a_run_without_them(dataset):
    several, alone = take(train(dataset), 3), take(train(dataset, Augmentation()), 3)
    for batch, usual in zip(several, alone, strict=True):
        assert batch["image"].shape == (4, len(NAMES), SIZE, SIZE, 3)
        np.testing.assert_array_equal(batch["label"], usual["label"])
        np.testing.assert_array_equal(batch["image"][:, 0], usual["image"])
        for row, label in enumerate(batch["label"]):
            image = dataset.read(dataset.train[label])
            expected = transforms.test_transform(image, SIZE)
            np.testing.assert_array_equal(batch["image"][row, NAMES.index("center")], expected)
            found = [view.tobytes() for view in batch["image"][row]]
            assert len(set(found)) == len(NAMES)


@pytest.mark.parametrize("options", [{"num_threads": 0}, {"num_threads": 3}, {"num_workers": 2}])
def test_views_depend_on_seed_and_place_only_and_resume_bitwise(dataset, options):
    expected = take(train(dataset, num_threads=1), 5)
    batches = train(dataset, **options)
    for _ in range(2):
        next(batches)
    state = json.loads(json.dumps(batches.get_state()))
    batches.close()
    fresh = train(dataset, **options)
    fresh.set_state(state)
    for batch, other in zip(take(fresh, 3), expected[2:], strict=True):
        np.testing.assert_array_equal(batch["image"], other["image"])
    # Each epoch draws anew.
    again = generator(1, TRAINING, COUNT)
    first = np.empty((len(NAMES), SIZE, SIZE, 3), np.float32)
    augment(picture(), Inputs.of(SIZE), DRAWN, generator(1, TRAINING, 0), first)
    second = np.empty_like(first)
    augment(picture(), Inputs.of(SIZE), DRAWN, again, second)
    changed = [not np.array_equal(a, b) for a, b in zip(first, second, strict=True)]
    assert changed == [name != "center" for name in NAMES]


def test_cached_features_are_made_of_all_views(dataset):
    batches = take(
        loader.train_views(dataset, dataset.train, Inputs.of(SIZE), 4, 1, 2, augmentation=DRAWN), 9
    )
    assert [batch["image"].shape for batch in batches] == [(4, len(NAMES), SIZE, SIZE, 3)] * 4
    assert not batches[1]["image"][2:].any()  # padding


def test_frames_of_a_video_are_changed_alike():
    class Video:
        count, rate = 4, 25.0

        def frames(self, numbers):
            return (picture() for _ in numbers)

    how = Augmentation(rule="centre", views=("recipe", "crop_color", "augmix", "crop_perspective"))
    inputs = Inputs.of(SIZE, frames=3, frame_rule="centre")
    out = np.empty((*how.axes, *inputs.shape), np.float32)
    augment(Video(), inputs, how, np.random.default_rng(0), out)
    for view in out:
        assert all(np.array_equal(view[0], frame) for frame in view[1:])
    assert len({view.tobytes() for view in out}) == len(out)


@pytest.mark.parametrize("name", NAMES)
def test_left_and_right_stay_where_they_matter(name):
    """With black on the left and white on the right, no view without flips turns it around."""
    pixels = np.zeros((40, 40, 3), np.uint8)
    pixels[:, 20:] = 255
    image = Image.fromarray(pixels)
    for flip in (True, False):
        found = [drawn(name, image, seed, flip) for seed in range(60)]
        darker = [float(one[:, :8].mean() - one[:, -8:].mean()) for one in found]
        if flip and name != "center":
            assert max(darker) > 0.5 > -0.5 > min(darker)
        else:
            assert max(darker) < 0.1


def test_the_colored_view_is_gray_or_another_color_at_the_published_rates():
    """The chance of gray is 1/5, and a plain color changes with a chance of about 4/5."""
    image = Image.new("RGB", (32, 32), (200, 60, 60))
    found = [
        255 * (drawn("crop_color", image, seed, size=8)[4, 4] * CLIP.std + CLIP.mean)
        for seed in range(600)
    ]
    grays = [np.ptp(pixel) < 0.5 for pixel in found]
    assert np.mean(grays) == pytest.approx(0.2, abs=0.05)
    same = [np.allclose(pixel, (200, 60, 60), atol=0.5) for pixel in found]
    assert np.mean(same) == pytest.approx(0.2 * 0.8, abs=0.05)


def test_blur_is_in_proportion_to_the_image():
    rng = np.random.default_rng(0)
    pixels = np.zeros((224, 224, 3), np.uint8)
    pixels[:, 112:] = 255
    large = np.asarray(colors.blur(Image.fromarray(pixels), 2.0, 2.0, rng))[0, :, 0]
    small = np.asarray(colors.blur(Image.fromarray(pixels[::7, ::7]), 2.0, 2.0, rng))[0, :, 0]
    assert ((large > 5) & (large < 250)).sum() > 5 >= ((small > 5) & (small < 250)).sum()


def test_perspective_keeps_the_middle_and_moves_corners_inwards():
    image = Image.new("RGB", (100, 80), "white")
    corners = []
    for seed in range(40):
        turned = np.asarray(
            views.change_perspective(image, 0.2, np.random.default_rng(seed)), np.float32
        )
        assert (turned[20:60, 20:80] == 255).all()
        corners.append(turned[0, 0, 0])
    assert min(corners) == 0  # the border is black
    same = views.change_perspective(picture(), 0.0, np.random.default_rng(0))
    np.testing.assert_array_equal(np.asarray(same), np.asarray(picture()))


def test_augmix_of_a_plain_image_at_the_end_of_the_scale_is_the_image():
    """Black is a fixed point of all nine operations, also at the border."""
    black = Image.new("RGB", (SIZE, SIZE))
    out = np.empty((SIZE, SIZE, 3), np.float32)
    for seed in range(20):
        augmix.augmix(black, np.random.default_rng(seed), out, CLIP)
        np.testing.assert_allclose(out, transforms.normalize(black), atol=1e-5)


def test_augmix_mixes_the_image_with_its_chains():
    """With operations that invert the image, a pixel tells the image's share: Beta(1, 1)."""
    image, shares = Image.new("RGB", (2, 2), "white"), []
    out = np.empty((2, 2, 3), np.float32)
    with pytest.MonkeyPatch.context() as patch:
        invert_once = iter([lambda image, rng: ImageOps.invert(image)])
        patch.setattr(augmix, "OPERATIONS", tuple(invert_once))
        patch.setattr(augmix, "LONGEST_CHAIN", 1)
        for seed in range(400):
            augmix.augmix(image, np.random.default_rng(seed), out, CLIP)
            shares.append(float((out[0, 0] * CLIP.std + CLIP.mean)[0]))
    assert np.mean(shares) == pytest.approx(0.5, abs=0.05)
    assert np.std(shares) == pytest.approx(np.sqrt(1 / 12), abs=0.03)
    assert min(shares) > -1e-3 and max(shares) < 1 + 1e-3


@pytest.mark.parametrize("operation", augmix.OPERATIONS, ids=lambda one: one.__name__)
def test_every_operation_is_weak_and_keeps_the_size(operation):
    image = picture(64, 64)
    for seed in range(10):
        changed = operation(image, np.random.default_rng(seed))
        assert changed.size == image.size and changed.mode == "RGB"
        before, after = (np.asarray(one, np.float32).ravel() for one in (image, changed))
        assert np.corrcoef(before, after)[0, 1] > 0.5


def test_movements_are_those_of_severity_one():
    """At 224 pixels: up to 7 pixels, 3 hundredths of shear and 2 whole degrees."""
    pixels = np.zeros((224, 224, 3), np.uint8)
    pixels[:, 112:] = 255
    edge, found = Image.fromarray(pixels), set()
    for seed in range(300):
        moved = np.asarray(augmix._translate_x(edge, np.random.default_rng(seed)))[100, :, 0]
        found.add(int(np.flatnonzero(moved > 127)[0]) - 112)
    assert found == set(range(-7, 8))


def test_unknown_views_and_mixing_are_refused(dataset):
    with pytest.raises(PromptError, match="view 'agmix'.*augmix"):
        Augmentation(views=("recipe", "agmix"))
    with pytest.raises(DataError, match="mixed_classes=3: views of an example cannot be mixed"):
        loader.train_batches(
            dataset, dataset.train, Inputs.of(SIZE), 4, 1, augmentation=DRAWN, mixed_classes=3
        )


def test_every_method_names_known_views():
    for method in methods.METHODS.values():
        views.check_views(method.views)


def test_a_method_sees_its_views_in_training_and_one_image_in_testing():
    images = jnp.arange(2 * 3 * 4.0).reshape(2, 3, 2, 2)
    first, second, third = methods.split_views(methods.Views(images))
    np.testing.assert_array_equal(second, images[:, 1])
    assert first.shape == third.shape == (2, 2, 2)
    (only,) = methods.split_views(images)
    assert only is images
