"""Batches: order, epochs, padding, saved positions, and errors from reading threads."""

import itertools
import json

import numpy as np
import pytest
from PIL import Image

from data_pipelines import loader, transforms
from data_pipelines.errors import BadPicture, DataError
from data_pipelines.examples import Dataset, Example
from data_pipelines.pictures import FolderReader

COUNT = 10


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Ten PNG files of noise, each with its own label."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for i in range(COUNT):
        pixels = rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    examples = tuple(Example(f"{i}.png", i, str(i)) for i in range(COUNT))
    return Dataset("noise", "{}", examples, (), examples, FolderReader(folder), folder)


def train(dataset, count=COUNT, batch_size=4, seed=1, num_epochs=None, **options):
    examples = dataset.train[:count]
    return loader.train_batches(dataset, examples, batch_size, 16, seed, num_epochs, **options)


def take(batches, count):
    taken = list(itertools.islice(batches, count))
    batches.close()
    return taken


def labels(batches):
    return [batch["label"].tolist() for batch in batches]


def assert_same(batches, others):
    assert len(batches) == len(others)
    for batch, other in zip(batches, others, strict=True):
        for key in ("image", "label"):
            np.testing.assert_array_equal(batch[key], other[key])


def test_types_and_the_incomplete_batch(dataset):
    batches = take(train(dataset, num_epochs=2), 99)
    assert len(batches) == 2 * loader.steps_per_epoch(COUNT, 4) == 4
    assert {b["image"].shape for b in batches} == {(4, 16, 16, 3)}
    assert batches[0]["image"].dtype == np.float32 and batches[0]["label"].dtype == np.int32
    small = take(train(dataset, count=3, num_epochs=2), 99)
    assert [sorted(batch) for batch in labels(small)] == [[0, 1, 2]] * 2
    assert loader.steps_per_epoch(3, 4) == 1


def test_every_epoch_has_each_example_once_in_a_new_order(dataset):
    epochs = labels(take(train(dataset, batch_size=COUNT), 6))
    assert all(sorted(epoch) == list(range(COUNT)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 6
    # Neighbouring seeds share no order, not even shifted by an epoch.
    others = labels(take(train(dataset, batch_size=COUNT, seed=2), 6))
    assert not {tuple(epoch) for epoch in epochs} & {tuple(epoch) for epoch in others}


def test_augmentation_differs_between_epochs(dataset):
    first, second = take(train(dataset, count=1, batch_size=1), 2)
    assert not np.array_equal(first["image"], second["image"])


@pytest.mark.parametrize("num_threads", [0, 1, 3])
def test_batches_depend_on_seed_and_position_only(dataset, num_threads):
    expected = take(train(dataset, num_threads=2), 7)
    assert_same(take(train(dataset, num_threads=num_threads), 7), expected)
    assert_same(take(train(dataset, num_threads=num_threads, cache_bytes=0), 7), expected)
    other = take(train(dataset, seed=2, num_threads=num_threads), 7)
    assert labels(other) != labels(expected)


@pytest.mark.parametrize("position", [0, 1, 2, 5])
def test_a_saved_position_continues_bit_for_bit(dataset, position):
    batches = train(dataset)
    for _ in range(position):
        next(batches)
    state = json.loads(json.dumps(batches.get_state()))
    expected = take(batches, 5)

    fresh = train(dataset)
    fresh.set_state(state)
    assert_same(take(fresh, 5), expected)
    # An iterator that has read ahead can be set back too.
    ahead = train(dataset)
    for _ in range(3):
        next(ahead)
    ahead.set_state(state)
    assert_same(take(ahead, 5), expected)


def test_test_batches_keep_order_and_pad_the_last(dataset):
    first, second, third = take(loader.test_batches(dataset, dataset.test, 4, 16), 99)
    assert labels([first, second, third]) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, -1, -1]]
    assert third["image"].shape == (4, 16, 16, 3) and third["label"].dtype == np.int32
    assert not third["image"][2:].any()
    expected = transforms.test_transform(dataset.read(dataset.test[9]), 16)
    np.testing.assert_array_equal(third["image"][1], expected)


@pytest.mark.parametrize("num_threads", [0, 2])
def test_a_bad_picture_surfaces_as_itself_from_threads(dataset, num_threads):
    examples = (*dataset.test, Example("gone.png", 0, "0"))
    with pytest.raises(BadPicture, match=r"gone\.png: no such file") as error:
        list(loader.test_batches(dataset, examples, 4, 16, num_threads))
    assert error.value.picture == str(dataset.folder / "gone.png")
    with pytest.raises(BadPicture, match=r"gone\.png"):
        list(loader.train_batches(dataset, examples, 4, 16, 1, 2, num_threads))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "batch_size=0: must be 1 or more"),
        ({"count": 0}, "no examples"),
        ({"seed": -1}, "seed=-1: must be from 0"),
        ({"num_epochs": 0}, "num_epochs=0: must be 1 or more"),
        ({"num_threads": -1}, "num_threads=-1: must be 0 or more"),
    ],
)
def test_settings_out_of_range_are_refused(dataset, changes, message):
    with pytest.raises(DataError, match=message):
        train(dataset, **changes)
