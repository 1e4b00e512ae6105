"""Batches: order, epochs, padding, saved positions, and errors from reading threads."""

import gc
import itertools
import json
import multiprocessing
import os
import signal

import numpy as np
import pytest
from PIL import Image

from data_pipelines import loader
from data_pipelines.batches.options import ReadOptions
from data_pipelines.errors import BadImage, DataError
from data_pipelines.examples import Dataset, Example
from data_pipelines.images.readers import FolderReader
from prompt_jax.inputs.draws import steps_per_epoch
from prompt_jax.inputs.images import transforms
from prompt_jax.inputs.preparation import Inputs
from prompt_jax.inputs.training_batches import feature_batches

COUNT = 10
INPUTS = Inputs.of(16)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Returns ten PNG files of noise, each with its own label."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for i in range(COUNT):
        pixels = rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    examples = tuple(Example(f"{i}.png", i, str(i)) for i in range(COUNT))
    return Dataset("noise", "{}", examples, (), examples, FolderReader(folder), folder)


def train(dataset, count=COUNT, batch_size=4, seed=1, num_epochs=None, **options):
    examples = dataset.train[:count]
    read = ReadOptions(**options)
    return loader.train_batches(
        dataset, examples, INPUTS, batch_size, seed, num_epochs=num_epochs, options=read
    )


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
    assert len(batches) == 2 * steps_per_epoch(COUNT, 4) == 4
    assert {b["image"].shape for b in batches} == {(4, 16, 16, 3)}
    assert batches[0]["image"].dtype == np.float32 and batches[0]["label"].dtype == np.int32
    small = take(train(dataset, count=3, num_epochs=2), 99)
    assert [sorted(batch) for batch in labels(small)] == [[0, 1, 2]] * 2
    assert steps_per_epoch(3, 4) == 1


def test_every_epoch_has_each_example_once_in_a_new_order(dataset):
    epochs = labels(take(train(dataset, batch_size=COUNT), 6))
    assert all(sorted(epoch) == list(range(COUNT)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 6
    # Neighboring seeds share no order, not even shifted by an epoch.
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
def test_a_saved_position_resumes_bitwise(dataset, position):
    batches = train(dataset)
    for _ in range(position):
        next(batches)
    state = json.loads(json.dumps(batches.get_state()))
    expected = take(batches, 5)

    fresh = train(dataset)
    fresh.set_state(state)
    assert_same(take(fresh, 5), expected)
    # An iterator that has read ahead can be reset too.
    ahead = train(dataset)
    for _ in range(3):
        next(ahead)
    ahead.set_state(state)
    assert_same(take(ahead, 5), expected)


def test_test_batches_keep_the_order_and_pad_the_last_batch(dataset):
    first, second, third = take(loader.test_batches(dataset, dataset.test, INPUTS, 4), 99)
    assert labels([first, second, third]) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, -1, -1]]
    assert third["image"].shape == (4, 16, 16, 3) and third["label"].dtype == np.int32
    assert not third["image"][2:].any()
    expected = transforms.test_transform(dataset.read(dataset.test[9]), 16)
    np.testing.assert_array_equal(third["image"][1], expected)


@pytest.mark.parametrize("num_threads", [0, 2])
def test_threads_pass_on_the_error_of_a_bad_image(dataset, num_threads):
    examples = (*dataset.test, Example("gone.png", 0, "0"))
    with pytest.raises(BadImage, match=r"gone\.png: no such file") as error:
        list(loader.test_batches(dataset, examples, INPUTS, 4, options=ReadOptions(num_threads)))
    assert error.value.image == str(dataset.folder / "gone.png")
    with pytest.raises(BadImage, match=r"gone\.png"):
        read = ReadOptions(num_threads)
        list(loader.train_batches(dataset, examples, INPUTS, 4, 1, num_epochs=2, options=read))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "batch_size=0: must be 1 or more"),
        ({"count": 0}, "no examples"),
        ({"seed": -1}, "seed=-1: must be from 0"),
        ({"num_epochs": 0}, "num_epochs=0: must be 1 or more"),
        ({"num_threads": -1}, "num_threads=-1: must be 0 or more"),
        ({"num_workers": -1}, "num_workers=-1: must be 0 or more"),
        ({"shard_count": 0}, "shard_count=0: must be 1 or more"),
        ({"shard_count": 2, "shard_index": 2}, "shard_index=2: must be from 0 to 1"),
        ({"shard_count": 3}, "batch of 4 examples .* shard_count=3 hosts; use .* 3 or 6 "),
        ({"shard_count": 2, "count": 3}, "batch of 3 examples is not divisible"),
    ],
)
def test_settings_out_of_range_are_rejected(dataset, changes, message):
    with pytest.raises(DataError, match=message):
        train(dataset, **changes)


@pytest.mark.slow
def test_workers_make_the_same_batches_and_resume_saved_positions(dataset):
    expected = take(train(dataset), 7)
    with_workers = train(dataset, num_workers=2)
    for batch in expected[:3]:
        assert_same([next(with_workers)], [batch])
    state = json.loads(json.dumps(with_workers.get_state()))
    assert_same(take(with_workers, 2), expected[3:5])

    # From workers to threads, and from threads to another number of workers.
    threads = train(dataset)
    threads.set_state(state)
    assert_same(take(threads, 4), expected[3:])
    one_worker = train(dataset, num_workers=1)
    one_worker.set_state(state)
    assert_same(take(one_worker, 4), expected[3:])


@pytest.mark.slow
def test_test_batches_and_errors_are_passed_on_by_workers(dataset):
    examples = (*dataset.test, Example("gone.png", 0, "0"))
    batches = loader.test_batches(dataset, examples, INPUTS, 5, options=ReadOptions(num_workers=2))
    assert_same(
        [next(batches), next(batches)], list(loader.test_batches(dataset, dataset.test, INPUTS, 5))
    )
    with pytest.raises(BadImage, match=r"gone\.png: no such file") as error:
        next(batches)
    batches.close()
    assert error.value.image == str(dataset.folder / "gone.png")


@pytest.mark.slow
def test_a_killed_worker_is_named_and_the_position_is_kept(dataset):
    batches = train(dataset, num_workers=1)
    for _ in range(2):
        next(batches)
    [worker] = multiprocessing.active_children()
    os.kill(worker.pid, signal.SIGKILL)
    message = rf"the reading process {worker.pid} was killed by signal SIGKILL \(exit code -9\)"
    taken = 2
    with pytest.raises(DataError, match=message):
        for _ in range(20):
            next(batches)
            taken += 1
    assert batches.get_state() == {"next_index": taken}
    # It continues with a new process.
    assert_same(take(batches, 1), take(train(dataset), taken + 1)[-1:])


@pytest.mark.slow
def test_workers_leave_no_shared_memory(dataset):
    before = set(os.listdir("/dev/shm"))
    batches = list(
        loader.test_batches(dataset, dataset.test, INPUTS, 4, options=ReadOptions(num_workers=2))
    )
    gc.collect()
    left = {name for name in set(os.listdir("/dev/shm")) - before if name.startswith("psm_")}
    assert len(batches) == 3 and not left


@pytest.mark.parametrize("state", [{"next_index": 99}, {"next_index": -1}, {}, {"next_index": "1"}])
def test_a_position_in_other_data_is_rejected(dataset, state):
    with pytest.raises(DataError, match="saved position .* from 0 to 4"):
        train(dataset, num_epochs=2).set_state(state)


def test_a_finite_pass_ends_at_the_same_batch_from_any_start(dataset):
    batches = train(dataset, num_epochs=2)
    batches.set_state({"next_index": 3})
    assert len(list(batches)) == 1
    assert batches.get_state() == {"next_index": 4}
    batches.set_state({"next_index": 4})
    assert list(batches) == []


def joined(hosts):
    """Joins the hosts' parts of each batch."""
    return [
        {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
        for parts in zip(*hosts, strict=True)
    ]


@pytest.mark.parametrize("count", [2, 4])
def test_hosts_read_slices_of_the_same_batches(dataset, count):
    whole = take(train(dataset), 5)
    hosts = [take(train(dataset, shard_index=i, shard_count=count), 5) for i in range(count)]
    assert {len(batch["label"]) for host in hosts for batch in host} == {4 // count}
    assert_same(joined(hosts), whole)

    def tested(**shard):
        return list(
            loader.test_batches(dataset, dataset.test, INPUTS, 4, options=ReadOptions(**shard))
        )

    hosts = [tested(shard_index=i, shard_count=count) for i in range(count)]
    assert_same(joined(hosts), tested())


VIEWS = np.arange(3 * COUNT * 2, dtype=np.float32).reshape(3, COUNT, 2)


def features(batch_size=4, seed=1, **options):
    return feature_batches(VIEWS, np.arange(COUNT), batch_size, seed, **options)


def test_features_have_the_order_of_images_and_a_view_per_epoch(dataset):
    batches = list(features(num_epochs=4))
    assert labels(batches) == labels(take(train(dataset), 8))
    assert batches[0]["image"].dtype == np.float32 and batches[0]["label"].dtype == np.int32
    for number, batch in enumerate(batches):
        view = (number // 2) % 3
        np.testing.assert_array_equal(batch["image"], VIEWS[view][batch["label"]])


def test_features_resume_and_shard_like_images():
    whole = take(features(), 9)
    later = features()
    later.set_state({"next_index": 4})
    assert_same(take(later, 5), whole[4:])
    hosts = [take(features(shard_index=i, shard_count=2), 9) for i in range(2)]
    assert_same(joined(hosts), whole)


@pytest.mark.parametrize(
    ("shape", "count"), [((10, 2), 10), ((0, 10, 2), 10), ((3, 10, 2), 9), ((1, 0, 2), 0)]
)
def test_features_of_other_shapes_are_rejected(shape, count):
    with pytest.raises(DataError, match="features .* and labels|no examples"):
        feature_batches(np.zeros(shape, np.float32), np.zeros(count, np.int32), 4, 1)


def views(dataset, count, batch_size=4, seed=1):
    return list(loader.train_views(dataset, dataset.train, INPUTS, batch_size, seed, count))


def unpadded(batches):
    images = np.concatenate([batch["image"][batch["label"] >= 0] for batch in batches])
    return images.reshape(-1, COUNT, *images.shape[1:])


def test_views_contain_the_examples_in_order_for_any_batch_size(dataset):
    batches = views(dataset, 2)
    once = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, -1, -1]]
    assert labels(batches) == once * 2
    images = unpadded(batches)
    assert images.shape == (2, COUNT, 16, 16, 3)
    assert not np.array_equal(images[0], images[1])
    np.testing.assert_array_equal(images, unpadded(views(dataset, 2, batch_size=7)))
    # More views are appended to the first ones.
    np.testing.assert_array_equal(images, unpadded(views(dataset, 3))[:2])
    assert not np.array_equal(images, unpadded(views(dataset, 2, seed=2)))


def test_zero_views_use_the_test_transform(dataset):
    assert_same(views(dataset, 0), list(loader.test_batches(dataset, dataset.train, INPUTS, 4)))
    with pytest.raises(DataError, match="views=-1"):
        views(dataset, -1)
