"""Batches of videos: pairs, order, frames, crops, padding, saved positions, hosts and workers."""

import itertools
import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from video_files import grey, write, write_folder

from data_pipelines import loader
from data_pipelines.batches.options import ReadOptions
from data_pipelines.errors import BadVideo, DataError
from data_pipelines.examples import Dataset, Example
from data_pipelines.videos.readers import VideoReader
from prompt_jax.inputs.augmenting import Augmentation
from prompt_jax.inputs.images import transforms as images
from prompt_jax.inputs.images.preprocessing import CLIP_MEAN, CLIP_STD
from prompt_jax.inputs.preparation import Inputs
from prompt_jax.inputs.videos import transforms

FRAMES, SIZE = 4, 16
KEYS = ("image", "label", "row", "caption")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Returns six videos, three of them files, with 0, 1 and 2 captions in turn."""
    folder = tmp_path_factory.mktemp("videos")
    for i in range(3):
        write(folder / f"{i}.mp4", count=10 + i, g="4")
        write_folder(folder / str(i + 3), count=3 + i)
    names = [f"{i}.mp4" if i < 3 else str(i) for i in range(6)]
    examples = tuple(
        Example(name, i, str(i), captions=tuple(f"{i}-{k}" for k in range(i % 3)))
        for i, name in enumerate(names)
    )
    return Dataset(
        "videos", "{}", examples, (), examples, VideoReader(folder), folder, kind="videos"
    )


def inputs(rule="centre", frames=FRAMES):
    return Inputs.of(SIZE, frames=frames, frame_rule=rule)


def train(dataset, batch_size=4, seed=1, num_epochs=None, rule="centre", **options):
    return loader.train_batches(
        dataset,
        dataset.train,
        inputs(),
        batch_size,
        seed,
        augmentation=Augmentation(rule=rule),
        num_epochs=num_epochs,
        options=ReadOptions(**options),
    )


def evaluate(dataset, batch_size=4, rule="centre", **options):
    read = ReadOptions(**options)
    return loader.test_batches(dataset, dataset.test, inputs(rule), batch_size, options=read)


def take(batches, count):
    taken = list(itertools.islice(batches, count))
    batches.close()
    return taken


def assert_same(batches, others):
    assert len(batches) == len(others)
    for batch, other in zip(batches, others, strict=True):
        assert batch.keys() == other.keys() == set(KEYS)
        for key in KEYS:
            np.testing.assert_array_equal(batch[key], other[key])


def test_an_epoch_has_a_pair_per_caption(dataset):
    pairs = loader.training_pairs(dataset.train)
    assert pairs == [(0, -1), (1, 0), (2, 0), (2, 1), (3, -1), (4, 0), (5, 0), (5, 1)]
    batches = take(train(dataset, batch_size=8), 3)
    for batch in batches:
        assert Counter(zip(batch["row"], batch["caption"], strict=True)) == Counter(pairs)
        np.testing.assert_array_equal(batch["label"], batch["row"])
    assert len({tuple(batch["row"]) for batch in batches}) == 3
    assert batches[0]["image"].shape == (8, FRAMES, SIZE, SIZE, 3)
    kinds = {key: batches[0][key].dtype for key in KEYS}
    assert kinds == {"image": np.float32, "label": np.int32, "row": np.int32, "caption": np.int32}
    assert len(take(train(dataset, batch_size=3, num_epochs=2), 99)) == 2 * (8 // 3)


@pytest.mark.parametrize("num_threads", [0, 3])
def test_batches_depend_on_seed_and_position_only(dataset, num_threads):
    for rule in ("centre", "random"):
        expected = take(train(dataset, num_threads=2, rule=rule), 7)
        assert_same(take(train(dataset, num_threads=num_threads, rule=rule), 7), expected)
        uncached = train(dataset, num_threads=num_threads, rule=rule, cache_bytes=0)
        assert_same(take(uncached, 7), expected)
    other = take(train(dataset, seed=2, rule="random", num_threads=num_threads), 7)
    assert not np.array_equal(other[0]["image"], expected[0]["image"])


def test_a_saved_position_resumes_bitwise(dataset):
    batches = train(dataset, rule="random")
    for _ in range(3):
        next(batches)
    state = json.loads(json.dumps(batches.get_state()))
    expected = take(batches, 3)
    fresh = train(dataset, rule="random")
    fresh.set_state(state)
    assert_same(take(fresh, 3), expected)


def test_test_batches_have_center_frames_in_order_and_pad_the_last_batch(dataset):
    first, second = take(evaluate(dataset), 99)
    assert first["row"].tolist() == first["label"].tolist() == [0, 1, 2, 3]
    assert second["row"].tolist() == second["label"].tolist() == [4, 5, -1, -1]
    assert (first["caption"] == -1).all() and first["row"].dtype == np.int32
    assert not second["image"][2:].any()
    # Ten frames in segments of 2, 3, 2 and 3; three frames, with the last repeated.
    for i, numbers in ((0, [0, 3, 5, 8]), (3, [0, 1, 2, 2])):
        for shown, number in zip(first["image"][i], numbers, strict=True):
            level = (shown[0, 0] * CLIP_STD + CLIP_MEAN) * 255
            np.testing.assert_allclose(level, grey(number), atol=1.5)


def test_crop_and_flip_are_the_same_for_all_frames():
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    frame = Image.fromarray(noise)
    seen = set()
    for seed in range(20):
        out = np.empty((3, SIZE, SIZE, 3), np.float32)
        transforms.train_transform([frame] * 3, SIZE, np.random.default_rng(seed), out)
        np.testing.assert_array_equal(out[0], out[1])
        np.testing.assert_array_equal(out[0], out[2])
        alone = images.train_transform(
            frame, SIZE, np.random.default_rng(seed), area=transforms.AREA
        )
        np.testing.assert_array_equal(out[0], alone)
        seen.add(out.tobytes())
    assert len(seen) == 20


@pytest.mark.parametrize("seed", range(5))
def test_a_crop_has_at_least_half_of_a_frame(seed):
    rng = np.random.default_rng(seed)
    for _ in range(50):
        left, top, right, bottom = images.random_box(320, 240, rng, transforms.AREA)
        assert (right - left) * (bottom - top) >= 0.49 * 320 * 240


def test_hosts_read_slices_of_the_same_batches(dataset):
    def joined(hosts):
        return [
            {key: np.concatenate([part[key] for part in parts]) for key in KEYS}
            for parts in zip(*hosts, strict=True)
        ]

    shards = [{"shard_index": i, "shard_count": 2} for i in range(2)]
    assert_same(joined([take(train(dataset, **s), 4) for s in shards]), take(train(dataset), 4))
    assert_same(joined([list(evaluate(dataset, **s)) for s in shards]), list(evaluate(dataset)))


@pytest.mark.slow
def test_a_worker_makes_the_same_batches(dataset):
    assert_same(
        take(train(dataset, num_workers=1, rule="random"), 5),
        take(train(dataset, rule="random"), 5),
    )


def test_threads_pass_on_the_error_of_a_bad_video(dataset):
    examples = (*dataset.test, Example("gone.mp4", 0, "0"))
    with pytest.raises(BadVideo, match=r"cannot read the video .*gone\.mp4: no such file"):
        list(loader.test_batches(dataset, examples, inputs(), 4))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "batch_size=0: must be 1 or more"),
        ({"seed": -1}, "seed=-1: must be from 0"),
        ({"num_epochs": 0}, "num_epochs=0: must be 1 or more"),
        ({"rule": "center"}, "unknown rule for frames 'center'. Did you mean 'centre'"),
        ({"shard_count": 3}, "batch of 4 examples .* shard_count=3 hosts"),
    ],
)
def test_settings_out_of_range_are_rejected(dataset, changes, message):
    with pytest.raises(DataError, match=message):
        train(dataset, **changes)


def test_tests_need_frames_and_a_deterministic_rule(dataset):
    with pytest.raises(DataError, match="unknown rule for frames 'random'. .*centre, second"):
        evaluate(dataset, rule="random")
    with pytest.raises(DataError, match="frames=0: must be 1 or more"):
        loader.test_batches(dataset, dataset.test, inputs(frames=0), 4)
    with pytest.raises(DataError, match="needs the frame rate"):
        list(evaluate(dataset, rule="second"))
