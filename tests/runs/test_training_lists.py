"""Results of models that were trained on different lists are not averaged."""

import json

import numpy as np
import pytest
from PIL import Image
from result_trees import only_table, put
from tiny import save_clip

import prompt_jax as pj
from data_pipelines import sampling
from data_pipelines.examples import Dataset, Example
from experiments import results
from experiments.record import training_list
from experiments.run import evaluating
from prompt_jax.inputs import digests

LISTS = {"training list": "ab" * 8, "training contents": "cd" * 8}


def rows(folder):
    return {one.label: one.cells["caltech101", "base"].seeds for one in only_table(folder).rows}


@pytest.mark.parametrize(
    ("changes", "label"),
    [
        ({"training list": "ef" * 8, "training contents": "12" * 8}, "training list={}"),
        ({"training contents": "ef" * 8}, "training contents={}"),
    ],
)
def test_runs_on_other_lists_or_other_files_are_labeled(tmp_path, changes, label):
    for seed, record_of in ((1, LISTS), (2, LISTS), (3, LISTS | changes)):
        put(tmp_path, seed=seed, training_list=record_of)
    usual = LISTS[label.partition("=")[0]][:8]
    assert rows(tmp_path) == {
        "zero_shot": 3,
        f"coop ({label.format(usual)})": 2,
        f"coop ({label.format('efefefef')})": 1,
    }


def test_methods_on_other_lists_are_labeled_unless_only_some_use_validation_lists(tmp_path):
    put(tmp_path, training_list=LISTS)
    put(tmp_path, method="tip_adapter", training_list=LISTS | {"validation list": "ab" * 8})
    assert set(rows(tmp_path)) == {"zero_shot", "coop", "tip_adapter"}
    put(tmp_path, method="gda", training_list={"training list": "ef" * 8})
    assert "gda (training list=efefefef)" in rows(tmp_path)


def test_lists_that_differ_by_config_get_no_second_label(tmp_path):
    for number, record_of in ((4, LISTS), (8, {"training list": "ef" * 8})):
        config = {"data": {"name": "caltech101", "train_per_class": number}}
        put(tmp_path, training_list=record_of, config=config)
    labels = {one.label for one in only_table(tmp_path).rows}
    assert {"coop (data.train_per_class=4)", "coop (data.train_per_class=8)"} < labels


def test_other_test_files_of_one_list_share_no_average(tmp_path):
    for seed, content in ((1, "ab"), (2, "ab"), (3, "cd"), (4, None)):
        contents = {"train": None, "tests": {"base": content and content * 8}}
        hashes = {"train": str(seed), "tests": {"base": "12"}, "contents": contents}
        put(tmp_path, seed=seed, data_hash="12" * 8, data_hashes=hashes)
    found = rows(tmp_path)
    assert (found["coop (contents of base=abababab)"], found["coop"]) == (2, 1)


def test_an_earlier_run_of_the_same_seed_on_other_images_is_not_called_the_same(tmp_path):
    drawn = [{"train": one, "tests": {"base": "x", "new": "y"}} for one in ("ab", "ab", "cd")]
    for hashes in drawn:
        put(tmp_path, data_hashes=hashes)
    first, second = results.summarize(tmp_path).remarks
    assert "is a newer run with the same settings (coop" in first
    assert "newer and has the same name (coop, " in second and "trained on other images" in second


@pytest.fixture
def whole(tmp_path):
    """Returns three classes of four images, in files."""
    names, listed = ("ant", "bee", "cat"), []
    for label, name in enumerate(names):
        for number in range(4):
            file = f"{name}{number}.jpg"
            (tmp_path / file).write_bytes(file.encode())
            listed.append(Example(file, label, name))
    return Dataset("folder", "a {}.", tuple(listed), (), tuple(listed), open, tmp_path)


def test_all_seeds_and_shots_of_one_list_have_one_identity(whole):
    drawn = [sampling.few_shot(whole, shots, seed) for shots, seed in ((1, 1), (1, 2), (2, 3))]
    found = [training_list.identify(whole, one) for one in drawn]
    assert set(found[0]) == set(LISTS)
    assert found[0] == found[1] == found[2]


def test_changes_that_give_a_list_another_identity(whole):
    here = training_list.identify(whole, whole)

    def parts(changed):
        there = training_list.identify(changed, changed)
        return {key for key in here if here[key] != there.get(key)}

    def with_train(*train):
        return Dataset("folder", "a {}.", train, (), whole.test, open, whole.folder)

    assert parts(with_train(*whole.train[::-1])) == set()
    assert parts(with_train(*whole.train[:-1])) == set(LISTS)
    assert "training list" in parts(with_train(*whole.train[1:], Example("ant0.jpg", 1, "bee")))
    (whole.folder / "cat3.jpg").write_bytes(b"another")
    assert parts(whole) == {"training contents"}
    (whole.folder / "cat3.jpg").unlink()
    assert training_list.identify(whole, whole) == {"training list": here["training list"]}


def test_classes_that_are_not_trained_on_do_not_matter(whole):
    base, _ = sampling.base_and_new(whole)
    here = training_list.identify(whole, base)
    (whole.folder / "cat3.jpg").write_bytes(b"another")
    assert training_list.identify(whole, base) == here


def record_of(model):
    return evaluating.trained_with(json.loads(json.dumps(model.trained)))


def test_fits_with_other_images_labels_or_recipes_share_no_average(tmp_path):
    bare = pj.load(save_clip(tmp_path / "clip"))
    shown = list(np.random.default_rng(0).integers(0, 255, (4, 8, 8, 3), np.uint8))

    def config(images=shown, labels=(0, 1, 0, 1), **options):
        return record_of(
            pj.fit("coop", bare, images, labels, ["a", "b"], **{"epochs": 1} | options)
        )

    usual = config()
    assert usual == config(seed=2) == config(shown[::-1], (1, 0, 1, 0))
    for other in (
        config(labels=(1, 0, 0, 1)),
        config(shown[:2], (0, 1)),
        config(epochs=2),
        config(batch_size=2),
        config(settings={"context_length": 5}),
        config(template="a {}."),
    ):
        assert other != usual


def test_models_not_trained_by_a_run_are_distinguished_by_their_record():
    earlier = {"pictures": 8, "epochs": 2, "batch_size": 4, "learning_rate": 0.1, "seed": 3}
    assert evaluating.trained_with(earlier) == {key: earlier[key] for key in list(earlier)[:-1]}
    imported = {"by": "CoOp", "sha256": "ab" * 32, "epoch": 50}
    assert evaluating.trained_with(imported) == {"checkpoint": "ab" * 8}


def test_images_are_identified_by_their_contents(tmp_path):

    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        Image.fromarray(pixels).save(tmp_path / folder / f"{folder}.png")
    paths = [str(tmp_path / "x/x.png"), tmp_path / "y/y.png"]
    assert digests.digest(paths[:1], ["a"]) == digests.digest(paths[1:], ["a"])
    assert digests.digest(paths[:1], ["a"]) != digests.digest(paths[:1], ["b"])
    same = Image.fromarray(pixels)
    assert digests.digest([same], ["a"]) == digests.digest([same.copy()], ["a"])
    assert digests.digest([[same, same]], ["a"]) != digests.digest([[same]], ["a"])
    assert digests.digest([pixels], ["a"]) != digests.digest([pixels + 1], ["a"])
    assert digests.digest([tmp_path / "x"], ["a"]) != digests.digest([tmp_path / "y"], ["a"])
