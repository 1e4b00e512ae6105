"""Training without configs, by `fit`."""

import dataclasses

import numpy as np
import pytest
from PIL import Image
from tiny import save_clip

import prompt_jax as pj
from experiments.configs.recipes import get_config
from experiments.configs.video import protocol
from prompt_jax import methods
from prompt_jax.errors import PromptError
from prompt_jax.methods.recipe import Recipe
from prompt_jax.text.labels import number_labels
from prompt_jax.training import recipes

NAMES = ["night", "noon"]
FIELDS = [*Recipe().fields()]
FIELDS.remove("epochs_by_shots")
VIDEO = [
    name for name, one in methods.RECORDS["videos"].items() if "few_shot" in one.recipes
]  # whose recipes are for classes


def images(number: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Returns dark and bright noise, uint8[N, 40, 48, 3], and the labels."""
    labels = np.arange(number) % 2
    noise = np.random.default_rng(0).integers(0, 90, (number, 40, 48, 3), np.uint8)
    return noise + (160 * labels[:, None, None, None]).astype(np.uint8), labels


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return save_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def bare(clip):
    return pj.load(clip)


def cross_entropy(model, shown, labels):
    chances = model.predict(shown, NAMES).probabilities
    return -np.log(chances[np.arange(len(labels)), labels]).mean()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("coop", {"epochs": 20, "learning_rate": 0.05}),
        ("pro_mpt", {"epochs": 8, "learning_rate": 0.05}),
        ("tip_adapter_f", {"epochs": 5}),
        ("gda", {}),
    ],
)
def test_training_lowers_the_loss_on_its_images(bare, name, options):
    shown, labels = images()
    before = cross_entropy(bare, shown, labels)
    model = pj.fit(name, bare, shown, labels, NAMES, batch_size=4, **options)
    assert cross_entropy(model, shown, labels) < 0.9 * before
    assert model.predict(shown).labels.tolist() == labels.tolist()
    assert model.trained["pictures"] == 8


@pytest.mark.parametrize("name", ["vop_f_p", "a5", "coop"])
def test_videos_train_too(clip, name):
    base = pj.load(clip, frames=3)
    shown, labels = images(24)
    videos, labels = shown.reshape(2, 6, 2, 40, 48, 3).swapaxes(1, 2), [0, 1] * 2
    videos = videos.reshape(4, 6, 40, 48, 3)
    options = {"epochs": 30, "learning_rate": 0.02, "batch_size": 4, "frames": 3}
    model = pj.fit(name, base, videos, labels, NAMES, **options)
    assert model.settings == dataclasses.replace(model.settings, **frames_of(model.settings))
    before = base.predict(videos, NAMES).probabilities[range(4), labels]
    assert model.predict(videos).probabilities[range(4), labels].mean() > before.mean()


def frames_of(settings):
    return {"frames": 3} if hasattr(settings, "frames") else {}


def test_paths_images_and_arrays_train_the_same(bare, tmp_path):
    shown, labels = images()
    for number, pixels in enumerate(shown):
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    paths = [tmp_path / f"{number}.png" for number in range(len(shown))]
    words = [NAMES[label] for label in labels]
    options = {"epochs": 2, "batch_size": 3}
    one = pj.fit("coop", bare, shown, labels, NAMES, **options)
    other = pj.fit("coop", bare, paths, words, **options)
    np.testing.assert_array_equal(one.prompts["context"], other.prompts["context"])
    third = pj.fit("coop", bare, paths, words, seed=2, **options)
    assert not np.array_equal(one.prompts["context"], third.prompts["context"])


def test_normalized_images_are_used_unchanged(bare):
    shown, labels = images()
    ready = np.stack([bare.preprocess(pixels) for pixels in shown])
    model = pj.fit("coop", bare, ready, labels, NAMES, epochs=2)
    assert model.predict(ready).logits.shape == (1, 8, 2)


@pytest.mark.parametrize("name", sorted(methods.METHODS))
def test_recipes_of_images_equal_those_of_the_configs(name):
    config = get_config(name)
    assert_same_recipe(recipes.find(name), config, methods.get(name))


@pytest.mark.parametrize("name", VIDEO)
def test_recipes_of_videos_equal_those_of_the_configs(name):
    config = protocol.get_config("few_shot", name)
    if name == "a5":  # by the shots: those of sixteen
        assert recipes.find(name).epochs == config.epochs_by_shots[-1][1]
        config.epochs = recipes.find(name).epochs
    assert_same_recipe(recipes.find(name), config, None)


def assert_same_recipe(recipe, config, method):
    assert {field: getattr(recipe, field) for field in FIELDS} == {
        field: config[field] for field in FIELDS
    }
    if method:
        assert method.Settings(**recipe.settings) == method.Settings(**config.settings.to_dict())


@pytest.mark.parametrize(
    ("labels", "names", "words"),
    [
        ([0, 1], NAMES, "2 labels for 3 images"),
        ([0, 1, 2], NAMES, "label 2 is not one of the 2 classes"),
        ([0, 1, -1], NAMES, "label -1 is not"),
        ([0, 1, 0.5], NAMES, "label 0.5 is not"),
        ([0, 1, True], NAMES, "label True is not"),
        ([0, 1, 0], None, "names is missing"),
        (["night", "noon", "nigth"], NAMES, "unknown label 'nigth'.*Did you mean 'night'"),
        ([0, 0, 0], NAMES, "all 3 images are of one class"),
        ([0, 1, 0], ["cat", "Cat"], "'cat' and 'Cat' make the same prompt"),
        ([0, 1, 0], "cat", r"pass \['cat'\]"),
        (5, NAMES, "labels=5 must be a list"),
    ],
)
def test_mismatched_labels(labels, names, words):
    with pytest.raises(PromptError, match=words):
        number_labels(labels, names, 3)


@pytest.mark.parametrize(
    ("method", "options", "words"),
    [
        ("copo", {}, "unknown method 'copo'. Did you mean 'coop'"),
        ("vop_p", {}, "works on videos and texts"),
        ("coop", {"settings": {"length": 3}}, "unknown setting of coop 'length'"),
        ("coop", {"settings": {"context_length": "4"}}, "context_length='4' is of type str"),
        ("coop", {"settings": 5}, "settings=5 must be a dict"),
        ("coop", {"epochs": 0}, "epochs=0 must be a whole number above 0"),
        ("coop", {"epochs": 1.5}, "epochs=1.5 must be a whole number above 0"),
        ("coop", {"learning_rate": float("nan")}, "learning_rate=nan must be a number above 0"),
        ("coop", {"seed": -1}, "seed=-1 must be a whole number from 0"),
        ("coop", {"template": "no"}, "template='no' must contain \"{}\" once"),
        ("coop", {"frames": 3}, "frames=3, but the backbone was loaded with frames=0"),
        ("coop", {"learning_rate": 1e30, "epochs": 3}, "diverged at step .*lower learning_rate"),
    ],
)
def test_methods_without_training_are_rejected_with_the_reason(bare, method, options, words):
    shown, labels = images(4)
    with pytest.raises(PromptError, match=words):
        pj.fit(method, bare, shown, labels, NAMES, **options)


def test_images_are_required(bare):
    with pytest.raises(PromptError, match="there are no images to train on"):
        pj.fit("coop", bare, [], [], NAMES)


def test_a_trained_model_is_not_a_backbone(bare):
    shown, labels = images(4)
    model = pj.fit("coop", bare, shown, labels, NAMES, epochs=1)
    with pytest.raises(PromptError, match="is already trained"):
        pj.fit("coop", model, shown, labels, NAMES)


def test_labels_as_text_are_matched_by_their_prompt():
    numbers, known = number_labels(["Sea horse", "sea_horse", "noon"], ["noon", "sea horse"], 3)
    assert numbers.tolist() == [1, 1, 0] and known == ("noon", "sea horse")


def test_classes_without_images_are_reported():
    with pytest.warns(UserWarning, match="classes without images: 1 of 3, e.g. 'zebra'"):
        number_labels([0, 1], ["cat", "dog", "zebra"], 2)


@pytest.mark.parametrize(
    ("names", "kind"),
    [(["1", "2"], "numbers"), (["n01440764", "n01443537"], "WordNet ids")],
)
def test_meaningless_names_are_reported(bare, names, kind):
    message = f"all class names are {kind}, .*: prompts read 'a picture of {names[1]}'; give each"
    with pytest.warns(UserWarning, match=message):
        pj.fit("gda", bare, *images(), names, template="a picture of {}")
