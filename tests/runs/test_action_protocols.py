"""Protocols of action recognition on lists and drawn shots: recipes, and errors."""

import importlib

import pytest
from test_action_lists import NAMES, touch, write_lists

from data_pipelines import datasets, loader
from data_pipelines.batches.options import ReadOptions
from data_pipelines.errors import DataError
from experiments.config.config import read
from experiments.configs.video import actions_comparison, protocol
from experiments.record import identity
from experiments.run import experiment, sweep
from experiments.setup import batches, building, plans
from prompt_jax import methods
from prompt_jax.errors import PromptError
from prompt_jax.inputs.preparation import Inputs


@pytest.fixture
def root(tmp_path):
    """Returns HMDB-51 with four classes: two draws of one video each, a third of base classes."""
    touch(tmp_path / "hmdb51", *write_lists(tmp_path, "hmdb51"))
    return tmp_path


def config_of(name, root, seed=1, **data):
    config = protocol.get_config(name, "vilt_clip")
    config.seed = seed
    config.data.update(name="hmdb51", root=str(root), **data)
    return config


def plan_of(config):
    building.check(config)
    return plans.build(read(config), 32, False)


def images(examples):
    return [example.image for example in examples]


def test_the_seed_selects_the_published_draw(root):
    first, second, third = (
        plan_of(config_of("few_shot", root, seed, shots=1)) for seed in (1, 2, 3)
    )
    assert images(first.train.train) == images(second.train.train)[::-1]
    assert first.train.notes == second.train.notes == ()
    assert images(third.train.train) == images(first.train.train)
    assert third.train.notes == ("hmdb51: seed 3 trains on draw 1 of draws 1, 2",)
    for plan in (first, second):  # so that they share an average
        assert (plan.train.name, list(plan.tests)) == ("hmdb51", ["test"])
        assert "train…_few_shot_1.txt" in plan.train.split_source
    assert first.hashes["tests"] == second.hashes["tests"]


def test_base_and_novel_classes_are_those_of_the_lists(root):
    plan = plan_of(config_of("base_to_novel", root, shots=1))
    assert plan.train.class_names == plan.tests["base"].class_names == ("brush hair", "cart wheel")
    assert plan.tests["new"].class_names == ("wave", "run")
    assert {one.name for one in plan.tests.values()} == {"hmdb51"}
    assert plan.train.notes == ("hmdb51: seed 1 trains on draw 3 of draws 3",)


def test_transfer_to_actions_tests_every_list_of_a_target(root):
    layout = datasets.TABLE["hmdb51"].layout
    first = (root / layout.lists / "val1.txt").read_text()
    (root / layout.lists / "val2.txt").write_text(first)
    config = protocol.get_config("zero_shot_transfer", "vilt_clip")
    config.data.update(root=str(root), names="hmdb51", train_per_class=1, test_per_class=1)
    plan = plan_of(config)
    assert list(plan.tests) == ["emoji_clips", "hmdb51:val1", "hmdb51:val2"]
    config.data.names = "hmdb51:val2"
    assert list(plan_of(config).tests) == ["emoji_clips", "hmdb51:val2"]


def test_several_lists_of_a_target_have_a_mean_and_a_deviation():
    looks = {"emoji_clips:night": 5.0, "emoji_clips:sketch": 9.0}
    accuracy = {"kinetics400": 70.0, "hmdb51:val1": 40.0, "hmdb51:val2": 41.0, "hmdb51:val3": 42.0}
    assert experiment.over_lists(accuracy | looks) == {"hmdb51": {"mean": 41.0, "std": 1.0}}


def test_supervised_training_uses_all_videos():
    config = protocol.get_config("supervised", "vilt_clip")
    config.data.update(train_per_class=3, test_per_class=1)
    plan = plan_of(config)
    assert (len(plan.train.train), len(plan.tests["test"].test)) == (99, 33)
    [folder] = sweep.expand(config)
    assert folder == "emoji_clips/vilt_clip/supervised-seed1"


def test_lists_without_training_videos_are_reported(root):
    with pytest.raises(PromptError, match="hmdb51 has no training videos: its split is empty"):
        plans.refuse_empty(plan_of(config_of("supervised", root)), True)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("few_shot", {"shots": 3}, r"no file .*train1_few_shot_3.txt"),
        (
            "base_to_novel",
            {},
            r"data.shots=16: the list base_3 of hmdb51 has 1 videos per class; set",
        ),
        ("few_shot", {"domain": "base"}, r"domain=base: config.protocol=few_shot chooses the list"),
        ("supervised", {"shots": 4}, r"data.shots=4: supervised draws no shots; it trains on all"),
    ],
)
def test_draws_that_do_not_exist_are_rejected(root, name, data, message):
    with pytest.raises((PromptError, DataError), match=message) as error:
        plan_of(config_of(name, root, **data))
    assert "\n" not in str(error.value)


def test_names_of_another_data_set_are_rejected_in_one_line(root):
    layout = datasets.TABLE["hmdb51"].layout
    names = [*NAMES, "swim"]
    text = "id,name\n" + "".join(f"{label},{name}\n" for label, name in enumerate(names))
    (root / layout.labels).write_text(text)
    with pytest.raises(DataError, match="names 5 classes, .*this data set's") as error:
        plan_of(config_of("few_shot", root, shots=1))
    assert "\n" not in str(error.value)


def test_more_views_than_frames_are_rejected_before_training():
    config = protocol.get_config("few_shot", "vilt_clip")
    config.data.update(crop="clip", views=61, test_per_class=1, shots=1)
    with pytest.raises(DataError, match="has 60 frames, fewer than views=61") as error:
        batches.check_views(plan_of(config).tests.values(), config.data.views)
    assert "\n" not in str(error.value)
    batches.check_views(plan_of(config).tests.values(), 60)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.augment": "vify"}, "unknown value of config.data.augment: 'vify'.*Did you mean"),
        ({"data.crop": "middle"}, "unknown value of config.data.crop"),
        ({"data.frame_stats": "none"}, "unknown value of config.data.frame_stats"),
        ({"data.views": -1}, "config.data.views=-1 must be at least 0"),
        ({"data.views": 4}, "config.data.crop=vifi and config.data.views=4: each view has"),
        ({"data.name": "emoji_scenes"}, "data.augment=vifi: emoji_scenes holds images; leave"),
        ({"protocol": "retrieval"}, "config.data.mix=True: retrieval has no classes; leave it"),
        ({"cached_views": 2}, "config.data.mix=True and config.cached_views=2: videos whose"),
        ({"schedule": "cosine"}, "warmup_epochs=5: config.schedule=cosine has no warm-up"),
        ({"warmup_epochs": -1}, "config.warmup_epochs=-1 must be at least 0"),
        ({"adam_betas": (0.9, 1.0)}, "must be two numbers, at least 0 and below 1"),
        ({"adam_betas": (0.9,)}, "must be two numbers"),
        ({"optimizer": "sgd"}, r"adam_betas=\(0.9, 0.98\): config.optimizer=sgd does not"),
    ],
)
def test_settings_that_would_be_ignored_are_rejected(changes, message):
    config = protocol.get_config("few_shot", "vilt_clip")
    config.update_from_flattened_dict(changes)
    with pytest.raises(PromptError, match=message) as error:
        building.check(config)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("method", "changes", "message"),
    [
        ("a5", {"data.frames": 8}, "settings.frames=16, and config.data.frames=8: a5 has prompts"),
        ("vilt_clip", {"cached_views": 1}, "the prompts of vilt_clip change the output"),
        (
            "a5",
            {"protocol": "retrieval", "epochs": 1},
            "cached_views=10: features are cached for cl",
        ),
        ("a5", {"settings": {}}, r"Use --config=experiments/configs/video/few_shot.py:a5"),
    ],
)
def test_unsupported_settings_of_a_method_are_rejected(method, changes, message):
    config = protocol.get_config("few_shot", method)
    config.unlock()
    for key, value in changes.items():
        section, _, field = key.rpartition(".")
        (config[section] if section else config)[field] = value
    with pytest.raises(PromptError, match=message) as error:
        building.build_method(read(config))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", protocol.PROTOCOLS)
@pytest.mark.parametrize("method", protocol.METHODS)
def test_every_method_has_a_recipe_for_every_protocol(name, method):
    module = importlib.import_module(f"experiments.configs.video.{name}")
    for config in sweep.expand(module.get_config(method)).values():
        building.check(config)
        found, settings = building.build_method(read(config))
        assert (config.protocol, found.input) != ("", "pairs") and settings is not None


def test_recipes_equal_the_published_ones():
    config = protocol.get_config("base_to_novel", "vilt_clip")
    assert (config.data.frames, config.epochs, config.batch_size) == (32, 12, 64)
    assert (config.learning_rate, config.weight_decay) == (4e-2, 1e-3)
    assert tuple(config.adam_betas) == (0.9, 0.98) and config.warmup_epochs == 5
    s = config.settings
    assert (s.prompts, s.depth, s.coupling_layer, s.sg_weight) == (16, 10, 6, 8.0)
    config = protocol.get_config("supervised", "vifi_clip")
    assert (config.data.frames, config.epochs, config.batch_size) == (16, 30, 512)
    with pytest.raises(PromptError, match="unknown method for classes of videos 'vilt'"):
        protocol.get_config("few_shot", "vilt")


def test_all_runs_of_the_comparison_can_be_built():
    names = set()
    for config in actions_comparison.get_configs():
        for one in sweep.expand(config).values():
            building.check(one)
            building.build_method(one)
            names.add((one.protocol, one.method, one.data.shots, one.seed))
    whole, beside = len(actions_comparison.METHODS), len(actions_comparison.OPTIONAL_METHODS)
    assert len(names) == (whole * (4 + 1) + beside) * 3


def test_runs_without_a_later_field_are_the_same_runs():
    config = identity.as_json(protocol.get_config("few_shot", "clip_video"))
    config |= {"warmup_epochs": 0, "adam_betas": [0.9, 0.999]}
    config["data"] |= {"augment": "none", "mix": False, "crop": "clip"}
    before = {key: value for key, value in config.items() if key not in identity.ADDED}
    added = {name.removeprefix("data.") for name in identity.ADDED}
    before["data"] = {key: one for key, one in config["data"].items() if key not in added}
    assert not identity.differences(config, before)
    assert identity.figure_fields(config) == identity.figure_fields(before)
    config["data"]["views"] = 4
    assert identity.differences(config, before) == ["data.views: 4 here, 0 there"]


def test_cached_views_have_new_draws_and_are_in_order():
    dataset = datasets.load("emoji_clips", train_per_class=1, test_per_class=1, size=32)
    few = dataset.train[:3]
    inputs, read = Inputs.of(32, frames=4, frame_rule="even"), ReadOptions(num_threads=0)
    batches = list(loader.train_views(dataset, few, inputs, 2, 1, 2, options=read))
    assert [batch["label"].tolist() for batch in batches] == [[0, 1], [2, -1]] * 2
    assert batches[0]["image"].shape == (2, 4, 32, 32, 3)
    assert (batches[0]["image"] != batches[2]["image"]).any()
    assert not batches[1]["image"][1].any()
    with pytest.raises(DataError, match="views=0: must be 1 or more"):
        loader.train_views(dataset, few, inputs, 2, 1, 0)


def test_zero_shot_clip_beside_an_image_method_is_an_image_method():
    config = protocol.get_config("few_shot", "vilt_clip")
    assert building.find_method(read(config), "zero_shot") is methods.get("zero_shot")
