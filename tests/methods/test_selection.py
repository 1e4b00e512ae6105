"""Folds, counts, and the rule that selects settings."""

import json

import numpy as np
import pytest

from prompt_jax.methods import selection
from prompt_jax.methods.selection import HeldOut


def test_folds_take_equally_many_shots_of_every_class_and_leave_some():
    labels = np.repeat([3, 1, 2], [8, 8, 2])
    folds = selection.assign_folds(labels)
    assert (folds[:8] == folds[8:16]).all()
    assert list(folds[:8]) == [0, 0, 1, 1, 2, 2, 3, 3]  # neighbors stay together
    assert list(folds[16:]) == [0, 1]


def test_the_only_shot_of_a_class_is_never_held_out():
    assert list(selection.assign_folds(np.array([0, 0, 1]))) == [0, 1, -1]
    assert list(selection.assign_folds(np.array([0, 1, 2]))) == [-1, -1, -1]


def test_no_view_of_a_held_out_shot_is_used_for_fitting():
    labels = np.tile([0, 1], 4)
    views = np.arange(8.0)[None, :, None] + np.array([0, 100, 200])[:, None, None]
    held = selection.hold_out_shots(lambda features, labels: (features, labels), views, labels)
    assert len(held) == 4
    for one in held:
        features, kept = one.prompts
        assert not set(np.ravel(features) % 100) & set(np.ravel(one.features) % 100)
        assert set(kept) == {0, 1} and len(kept) == 6
    tried = np.concatenate([one.labels for one in held])
    assert len(tried) == 8  # each shot once
    assert selection.describe(held) == "cross-validation over 8 shots in 4 folds"


def test_one_shot_per_class_holds_nothing_out():
    views = np.zeros((2, 3, 4))
    assert selection.hold_out_shots(lambda *_: 1 / 0, views, np.arange(3)) == []


@pytest.mark.parametrize(
    "hits, index",
    [
        ([7, 7, 7, 8, 9, 9, 9], 5),
        ([0, 9, 1, 8, 8, 8, 0], 4),  # a single peak may be chance, a plateau is not
        ([5, 5, 5, 5, 5, 5, 5], 3),
        ([2, 4], 1),
    ],
)
def test_the_middle_of_a_plateau_is_selected(hits, index):
    assert selection.best(np.array(hits, float)) == (index,)


def test_images_count_once_for_any_number_of_views():
    grid = {"alpha": (0.0, 1.0)}
    few = HeldOut("few", np.zeros((1, 2, 3)), np.zeros(2, int))
    many = HeldOut("many", np.zeros((4, 3, 3)), np.zeros(3, int), "shots")

    def count_hits(prompts, features, labels):
        assert len(features) == len(labels) == {"few": 2, "many": 12}[prompts]
        return np.array({"few": [2, 0], "many": [0, 12]}[prompts])

    choice = selection.choose([few, many], count_hits, grid, {"alpha": 0.5})
    assert choice.values == {"alpha": 1.0}
    assert list(choice.accuracy) == [40.0, 60.0]
    assert choice.by == "cross-validation over 3 shots in 1 folds and 2 validation images"
    assert str(choice) == f"alpha=1, chosen by {choice.by}"


def test_bounds_and_best_values_of_a_large_grid_are_recorded():
    grid = {"beta": [i / 10 for i in range(200)], "alpha": [1.0, 2.0]}
    held = [HeldOut(None, np.zeros((1, 10, 3)), np.zeros(10, int))]
    hits = np.zeros((200, 2))
    hits[40:61, 1] = 5
    choice = selection.choose(held, lambda *_: hits, grid, {"beta": 0.0, "alpha": 0.0})
    record = json.loads(json.dumps(choice.as_json()))
    assert str(choice) == "alpha=2, beta=5, chosen by 10 validation images"
    assert record["values"] == {"beta": 5.0, "alpha": 2.0}
    assert record["grid"] == {"beta": {"from": 0.0, "to": 19.9, "values": 200}, "alpha": [1.0, 2.0]}
    assert record["accuracy"] == 50.0
    assert len(record["best"]) == 5
    assert record["best"][0] == {"beta": 4.0, "alpha": 2.0, "accuracy": 50.0}
