"""The embedded videos show what their captions describe, and many differ only in temporal order."""

import pickle
from collections import Counter

import numpy as np
import pytest

from data_pipelines import datasets, sampling
from data_pipelines.errors import DataError
from data_pipelines.scenes import (
    ACTIONS,
    CLASSES,
    LENGTH,
    caption_video,
    describe_video,
    render_video,
    reversed_video,
)
from data_pipelines.scenes.drawing import draw_emoji
from data_pipelines.scenes.motions import DRAWS
from prompt_jax.clip import tokenizer

TIMED = [name for name, action in ACTIONS.items() if action.timed]


def objects_of(action, first=3, second=50):
    return (first, second)[: ACTIONS[action].num_objects]


def middles(count):
    """Returns the middle frame of each of `count` equal segments of odd length."""
    return [(2 * k + 1) * LENGTH // (2 * count) for k in range(count)]


def test_reversals_are_mutual_and_described_in_the_same_order():
    assert len(ACTIONS) == 33 and list(ACTIONS) == sorted(ACTIONS)
    for name, action in ACTIONS.items():
        other = ACTIONS[action.reversal]
        assert other.reversal == name and other.motion is action.motion
        assert len(other.phrases) == len(action.phrases) == len(set(action.phrases))
        assert (other.backwards != action.backwards) == (other is not action)
    phrases = [phrase for action in ACTIONS.values() for phrase in action.phrases]
    assert len(set(phrases)) == len(phrases)


@pytest.mark.parametrize("action", TIMED)
def test_a_reversal_has_the_same_frames_in_reverse_order(action):
    objects = objects_of(action)
    other = reversed_video(action, objects)
    assert other != (action, objects) and reversed_video(*other) == (action, objects)
    for index in range(2):
        clip = render_video(action, objects, 0, index)
        np.testing.assert_array_equal(clip[::-1], render_video(*other, 0, index))
        assert (clip[::-1] != clip).any()


@pytest.mark.parametrize("count", [4, 12, 20, 60])
def test_a_reversal_has_the_same_sampled_frames_in_reverse_order(count):
    first, second = (
        render_video(action, (7,), 0, 0, frames=middles(count))
        for action in ("moving left", "moving right")
    )
    np.testing.assert_array_equal(first[::-1], second)


@pytest.mark.parametrize(
    ("action", "changed"),
    [
        ("shaking", {1: lambda phase: 0.5 - phase}),
        ("swinging", {1: lambda phase: 0.5 - phase}),
        ("bouncing", {1: lambda phase: 1 - phase}),
        ("blinking", {1: lambda phase: 0.5 - phase}),
        ("growing and shrinking", {}),
        ("shrinking and growing", {}),
        ("swapping places", {4: lambda choice: 1 - choice}),
    ],
)
def test_other_videos_reversed_show_the_same_action(action, changed):
    assert action not in TIMED and reversed_video(action, (1,)) == (action, (1,))
    draws = np.random.default_rng(0).random((20, DRAWS))
    opposite = draws.copy()
    for column, change in changed.items():
        opposite[:, column] = change(draws[:, column]) % 1
    motion = ACTIONS[action].motion
    for there, back in zip(draws.tolist(), opposite.tolist(), strict=True):
        for time in (np.arange(LENGTH) + 0.5) / LENGTH:
            np.testing.assert_allclose(
                motion(time, there).poses, motion(1 - time, back).poses, atol=1e-5
            )


def test_all_but_two_actions_are_timed_or_their_own_reversal():
    assert len(TIMED) == 26
    assert {name for name in ACTIONS if ACTIONS[name].exchanged} == {
        "chasing another",
        "turning into another",
    }


def poses(action, position=0):
    """Returns the poses of one object, [videos, frames, 5], in playing order."""
    draws = np.random.default_rng(0).random((30, DRAWS)).tolist()
    times = (np.arange(LENGTH) + 0.5) / LENGTH
    times = times[:: -1 if ACTIONS[action].backwards else 1]
    motion = ACTIONS[action].motion
    return np.array([[motion(time, each).poses[position] for time in times] for each in draws])


X, Y, DIAMETER, ANGLE, OPACITY = range(5)


@pytest.mark.parametrize(
    ("action", "field", "sign"),
    [
        ("moving right", X, 1),
        ("moving left", X, -1),
        ("moving down", Y, 1),
        ("moving up", Y, -1),
        ("coming closer", DIAMETER, 1),
        ("going away", DIAMETER, -1),
        ("spinning clockwise", ANGLE, 1),
        ("spinning counterclockwise", ANGLE, -1),
        ("appearing", OPACITY, 1),
        ("vanishing", OPACITY, -1),
        ("falling", Y, 1),
        ("rising", Y, -1),
        ("entering from the left", X, 1),
        ("leaving to the left", X, -1),
        ("entering from the right", X, -1),
        ("leaving to the right", X, 1),
    ],
)
def test_objects_move_as_the_action_says(action, field, sign):
    shown = poses(action)
    steps = sign * np.diff(shown[..., field], axis=1)
    assert (steps >= 0).all() and (steps.sum(1) > 0.35).all()
    others = [each for each in (X, Y, DIAMETER, ANGLE, OPACITY) if each != field]
    assert np.abs(np.diff(shown[..., others], axis=1)).max() == 0


def test_circles_are_closed_and_clockwise_means_clockwise():
    for action, sign in (("circling clockwise", 1), ("circling counterclockwise", -1)):
        shown = poses(action)
        # Down is positive, so that a growing angle is clockwise.
        angle = np.unwrap(np.arctan2(shown[..., Y], shown[..., X]), axis=1)
        turned = sign * (angle[:, -1] - angle[:, 0])
        np.testing.assert_allclose(turned, 2 * np.pi * (1 - 1 / LENGTH), atol=1e-3)


def test_the_chaser_follows_and_daylight_fades():
    for chaser, chased in zip(poses("chasing another"), poses("chasing another", 1), strict=True):
        heading = np.sign(np.diff(chaser[:, X]))
        assert (heading == heading[0]).all()
        assert (heading[0] * (chased - chaser)[:, X] > 0.4).all()
    dusk = render_video("going from day to night", (5,), 0, 0).mean((1, 2, 3))
    assert (np.diff(dusk) <= 0).all() and dusk[-1] < 0.4 * dusk[0]


def test_a_growing_angle_rotates_an_image_clockwise():
    upright, turned = (
        draw_emoji("candle", 48, (0, 0), 0.8, angle, mirrored=False) for angle in (0, np.pi / 2)
    )
    assert np.abs(np.rot90(upright, -1) - turned).mean() < 1
    assert np.abs(np.rot90(upright, 1) - turned).mean() > 5


@pytest.mark.parametrize("action", ACTIONS)
def test_frames_can_be_rendered_in_any_order_and_size(action):
    objects = objects_of(action)
    clip = render_video(action, objects, 1, 4, 32)
    assert clip.shape == (LENGTH, 32, 32, 3) and clip.dtype == np.uint8
    assert len(np.unique(clip.reshape(LENGTH, -1), axis=0)) > 1
    chosen = (59, 0, 17, 17)
    np.testing.assert_array_equal(render_video(action, objects, 1, 4, 32, chosen), clip[[*chosen]])
    assert (render_video(action, objects, 1, 5, 32) != clip).any()


def masked(caption, action, objects):
    """Returns the caption without the names of its objects and the action of the first one."""
    name, *other = (CLASSES[label] for label in objects)
    phrases = [phrase.format(other="".join(other)) for phrase in ACTIONS[action].phrases]
    longest = max((phrase for phrase in phrases if phrase in caption), key=len)
    return caption.replace(longest, f"<{phrases.index(longest)}>").replace(name, "<name>")


@pytest.mark.parametrize("action", ACTIONS)
def test_captions_fit_the_tower_and_those_of_a_reversal_differ_in_the_action_only(action):
    lengths = {name: len(tokenizer.encode(name)) for name in CLASSES}
    longest = sorted(CLASSES, key=lengths.__getitem__)[-ACTIONS[action].num_objects :]
    objects = tuple(map(CLASSES.index, longest))
    reversal = reversed_video(action, objects)
    for index in range(60):
        first, second = (
            caption_video(describe_video(*clip, 0, index), np.random.default_rng(index))
            for clip in ((action, objects), reversal)
        )
        assert len(tokenizer.encode(first)) <= 17, first
        assert "<name>" in masked(first, action, objects) and "{" not in first
        if ACTIONS[action].timed:
            assert first != second
            assert masked(first, action, objects) == masked(second, *reversal)


@pytest.mark.parametrize("name", ["emoji_clips", "emoji_clips:time"])
def test_lists(name):
    dataset = datasets.load(name, train_per_class=4, val_per_class=2)
    assert dataset.kind == "videos" and dataset.folder is None
    assert dataset.class_names == tuple(TIMED if "time" in name else ACTIONS)
    lists = (dataset.train, dataset.val, dataset.test)
    assert len({example.image for each in lists for example in each}) == sum(map(len, lists))
    assert all(example.name == example.image.split("/")[0] for example in dataset.train)
    captions = [caption for example in dataset.test for caption in example.captions]
    assert len(captions) == len(set(captions)) == len(dataset.test)
    assert datasets.load(name, train_per_class=4, val_per_class=2) == dataset
    assert pickle.loads(pickle.dumps(dataset)) == dataset


def test_each_pair_of_object_and_action_occurs_in_one_test_video():
    dataset = datasets.load("emoji_clips")
    assert len(dataset.test) == 495
    pairs = [(e.name, e.image.split("/")[1].split("+")[0]) for e in dataset.test]
    assert len(set(pairs)) == 495
    assert len({first for _, first in pairs}) == 50


def test_in_the_time_domain_every_video_has_its_reversal_and_equal_frame_means():
    dataset = datasets.load("emoji_clips:time", test_per_class=2)
    videos = {example.image: example for example in dataset.test}
    for example in dataset.test:
        action, objects, index = example.image.split("/")
        other, swapped = reversed_video(action, tuple(map(int, objects.split("+"))))
        twin = videos[f"{other}/{'+'.join(map(str, swapped))}/{index}"]
        assert twin.captions != example.captions
        assert dataset.reversals[example.image] == twin.image
        first, second = (
            np.stack([*dataset.read(each).frames(middles(12))]).astype(float).mean(0)
            for each in (example, twin)
        )
        np.testing.assert_array_equal(first, second)


def test_reading():
    dataset = datasets.load("emoji_clips", test_per_class=1, size=40)
    example = dataset.test[5]
    clip = dataset.read(example)
    assert clip.count == LENGTH and clip.rate == 20
    first, last = clip.frames([0, 59])
    assert first.size == last.size == (40, 40) and first.mode == "RGB"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"domain": "tim"}, "unknown domain of emoji_clips 'tim'. Did you mean 'time'"),
        ({"num_objects": 1}, "num_objects=1: must be from 2 to 200"),
        ({"num_objects": 201}, "num_objects=201"),
        ({"size": 16}, "size=16: must be from 32 to 96"),
        ({"test_per_class": -1}, "test_per_class=-1"),
        ({"frames": 8}, "unknown option of the data set emoji_clips: 'frames'"),
    ],
)
def test_invalid_options_are_rejected(options, message):
    with pytest.raises(DataError) as raised:
        datasets.load("emoji_clips", **options)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"action": "moving lift"}, "Did you mean 'moving left'"),
        ({"objects": (200,)}, "object=200: must be a whole number from 0 to 199"),
        ({"objects": (3, 4)}, "objects=(3, 4): 'moving left' needs 1"),
        ({"action": "chasing another"}, "'chasing another' needs 2"),
        ({"action": "chasing another", "objects": (3, 3)}, "each of another class"),
        ({"seed": -1}, "seed=-1"),
        ({"index": 0.5}, "index=0.5"),
        ({"size": 31}, "size=31"),
        ({"frames": (0, 60)}, "frame=60: must be a whole number from 0 to 59"),
    ],
)
def test_invalid_arguments_are_rejected(changed, message):
    arguments = {"action": "moving left", "objects": (3,), "seed": 0, "index": 0} | changed
    with pytest.raises(DataError) as raised:
        render_video(**arguments)
    assert message in str(raised.value)


def test_actions_are_classes_from_which_shots_are_drawn():
    dataset = datasets.load("emoji_clips", train_per_class=20, val_per_class=0, test_per_class=2)
    assert dataset.class_names == tuple(ACTIONS)
    for shots in (2, 16):
        counts = Counter(example.name for example in sampling.few_shot(dataset, shots, 1).train)
        assert counts == dict.fromkeys(ACTIONS, shots)
    base, new = sampling.base_and_new(dataset)
    assert len(base.class_names) == 17 and len(new.class_names) == 16
    assert len(new.test) == 2 * 16


def test_classes_that_differ_only_in_order_can_be_merged():
    merged = {name: min(name, action.reversal) for name, action in ACTIONS.items()}
    assert all(ACTIONS[action.reversal].reversal == name for name, action in ACTIONS.items())
    sizes = Counter(Counter(merged.values()).values())
    # Twelve pairs; nine actions are their own reversal.
    assert sizes == {2: 12, 1: 9}
