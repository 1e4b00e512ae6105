"""Few-shot draws equal the published ones; base and new classes are the two halves."""

import json
import os
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipelines import sampling
from data_pipelines.errors import DataError
from data_pipelines.examples import Dataset, Example
from data_pipelines.layouts import coop

SHARED = Path(os.environ.get("PROMPT_JAX_SHARED", Path(__file__).parents[3] / "shared"))


def make_dataset(train_labels, val_labels=()):
    def examples(split, labels):
        return tuple(Example(f"{split}/{i}.jpg", label, f"c{label}") for i, label in labels)

    train = examples("train", enumerate(train_labels))
    val = examples("val", enumerate(val_labels))
    test = examples("test", enumerate(sorted(set(train_labels))))

    def read(example):
        raise AssertionError("sampling must not read images")

    return Dataset("synthetic", "a photo of a {}.", train, val, test, read)


def test_a_draw_equals_a_direct_implementation_of_the_rule():
    # Labels out of order, class 2 first and class 0 with fewer examples than shots.
    dataset = make_dataset([2] * 9 + [0] * 3 + [1] * 8 + [2] * 2, [1] * 7 + [2] * 3 + [0] * 6)
    few = sampling.few_shot(dataset, shots=5, seed=3)

    rng = random.Random(3)
    train = dataset.train
    twos, zeros, ones = train[:9] + train[20:], train[9:12], train[12:20]
    expected = rng.sample(twos, 5) + list(zeros) + rng.sample(ones, 5)
    ones, twos, zeros = dataset.val[:7], dataset.val[7:10], dataset.val[10:]
    expected_val = rng.sample(ones, 4) + list(twos) + rng.sample(zeros, 4)
    assert list(few.train) == expected
    assert list(few.val) == expected_val
    assert few.test == dataset.test


@pytest.mark.skipif(not (SHARED / "oracles/fewshot").is_dir(), reason="no published draws here")
def test_draws_equal_the_published_ones():
    splits = {
        name: coop.read_split(path)
        for path in (SHARED / "data/splits").glob("split_zhou_*.json")
        for name in [path.stem.removeprefix("split_zhou_")]
    }
    oracles = sorted((SHARED / "oracles/fewshot").glob("*.json"))
    assert oracles
    for path in oracles:
        oracle = json.loads(path.read_text())
        train, val, test = splits[oracle["dataset"]]
        full = Dataset(oracle["dataset"], "{}", train, val, test, make_dataset([0]).read)
        few = sampling.few_shot(full, oracle["shots"], oracle["seed"])
        for split in ("train", "val"):
            drawn = [example.image for example in getattr(few, split)]
            assert drawn == oracle[split], f"{path.name}: {split}"


def test_shots_below_one_are_rejected():
    with pytest.raises(DataError, match=r"shots=0.*1 or more"):
        sampling.few_shot(make_dataset([0, 1]), 0, 1)


@pytest.mark.parametrize(("classes", "base_size"), [(2, 1), (5, 3), (10, 5)])
def test_base_is_the_larger_half_and_new_labels_start_from_zero(classes, base_size):
    dataset = make_dataset([label for label in reversed(range(classes)) for _ in range(2)])
    base, new = sampling.base_and_new(dataset)
    assert base.class_names == dataset.class_names[:base_size]
    assert new.class_names == dataset.class_names[base_size:]
    assert len(base.train) + len(new.train) == len(dataset.train)
    names = {example.image: example.name for example in dataset.train}
    assert all(names[example.image] == example.name for example in new.train)


def test_a_single_class_cannot_be_split():
    with pytest.raises(DataError, match="at least 2 classes"):
        sampling.base_and_new(make_dataset([0, 0]))


@given(
    bad=st.sets(st.integers(0, 23)),
    shots=st.integers(1, 6),
    seed=st.integers(0, 2**32),
)
def test_only_bad_shots_are_replaced_by_good_ones_of_their_class(bad, shots, seed):
    whole = tuple(Example(f"{n}.jpg", n % 4, f"c{n % 4}") for n in range(24))
    broken = {f"{n}.jpg" for n in bad}
    dataset = Dataset("x", "{}", whole, (), (), open)
    drawn = sampling.few_shot(dataset, shots, seed).train
    asked = []

    def is_bad(example):
        asked.append(example)
        return example.image in broken

    kept = sampling.replace_bad(drawn, whole, is_bad, seed)
    assert len(set(kept)) == len(kept) and not {one.image for one in kept} & broken
    good = [one for one in drawn if one.image not in broken]
    assert [one for one in kept if one in drawn] == good
    if len(good) == len(drawn):
        assert kept == drawn and asked == list(drawn)  # no other image is checked
    for label in range(4):
        readable = sum(one.label == label and one.image not in broken for one in whole)
        assert sum(one.label == label for one in kept) == min(shots, readable)
    assert kept == sampling.replace_bad(drawn, whole, is_bad, seed)
