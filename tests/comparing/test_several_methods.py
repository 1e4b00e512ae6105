"""Sweeps over methods, and which runs of a sweep have distinct outcomes and directories."""

import json

import pytest

from experiments.config.config import read
from experiments.configs import recipes
from experiments.configs.images import base_to_novel, few_shot
from experiments.configs.video import few_shot as video_few_shot
from experiments.run import sweep
from prompt_jax.errors import PromptError
from prompt_jax.methods.recipe import Recipe


def config_of(methods, module=few_shot, **fields):
    config = module.get_config("coop")
    config.data.names, config.data.shots_list, config.seeds = "emoji_scenes", (2,), (1,)
    config.methods = methods
    config.update(fields)
    return config


def test_each_method_has_its_own_recipe_and_settings():
    runs = list(sweep.expand(config_of("maple, promptsrc,coop")).values())
    assert [one.method for one in runs] == ["maple", "promptsrc", "coop"]
    for one in runs:
        usual = read(recipes.get_config(one.method, "few_shot"))
        assert one.settings == usual.settings and not one.methods
        assert one.learning_rate == usual.learning_rate and one.batch_size == usual.batch_size
    assert len({one.epochs for one in runs}) > 1
    assert {one.data.shots for one in runs} == {2}
    assert sweep.is_sweep(read(config_of("maple")))


def test_given_fields_are_those_of_all_methods():
    runs = sweep.expand(config_of("coop,maple", epochs=3, batch_size=7)).values()
    assert [(one.epochs, one.batch_size) for one in runs] == [(3, 7)] * 2
    assert set(Recipe().fields()) >= {"epochs", "batch_size", "cached_views"}


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ("coop,mapel", "'mapel'.*Did you mean 'maple'"),
        ("coop,maple,coop", "config.methods=coop,maple,coop names coop twice"),
    ],
)
def test_unknown_and_repeated_methods_are_refused(methods, message):
    with pytest.raises(PromptError, match=message):
        sweep.expand(config_of(methods))


def test_a_setting_of_one_method_is_refused():
    config = config_of("coop,maple")
    config.settings.context_length = 5
    with pytest.raises(PromptError, match="config.settings.context_length=5 is of coop alone"):
        sweep.expand(config)


def test_protocols_share_a_directory_without_sharing_runs(tmp_path):
    names = [*sweep.expand(config_of("")), *sweep.expand(config_of("", base_to_novel))]
    assert names == [
        "emoji_scenes/coop/few_shot-2shots-seed1",
        "emoji_scenes/coop/base_to_novel-2shots-seed1",
    ]


def test_a_run_of_an_earlier_version_keeps_its_directory(tmp_path):
    [(name, one)] = sweep.expand(config_of("")).items()
    earlier = "emoji_scenes/coop/2shots-seed1"
    assert sweep._place(tmp_path, name, one) == name
    (tmp_path / earlier).mkdir(parents=True)
    for protocol, expected in (("base_to_novel", name), ("few_shot", earlier)):
        (tmp_path / earlier / "run.json").write_text(json.dumps({"protocol": protocol}))
        assert sweep._place(tmp_path, name, one) == expected
    (tmp_path / name).mkdir(parents=True)
    assert sweep._place(tmp_path, name, one) == name


def test_methods_that_train_nothing_run_once_per_data_set():
    config = config_of("zero_shot,coop", seeds=(1, 2, 3))
    config.data.names, config.data.shots_list = "emoji_scenes,dtd", (1, 2, 4, 8, 16)
    kept, notes = sweep.without_repetition(sweep.expand(config))
    own = [name for name, one in kept.items() if one.method == "zero_shot"]
    assert own == [f"{name}/zero_shot/few_shot-1shots-seed1" for name in ("emoji_scenes", "dtd")]
    assert len(kept) == 2 + 30
    [note] = notes
    assert note.startswith("zero_shot trains nothing, so its results do not depend on shots and")
    assert ": 2 of 30 runs, emoji_scenes/zero_shot/few_shot-1shots-seed1, dtd/" in note


def test_shots_that_choose_a_temperature_make_a_difference():
    config = config_of("zero_shot", seeds=(1, 2), calibrate=True)
    runs = sweep.expand(config)
    assert sweep.without_repetition(runs) == (runs, [])


@pytest.mark.parametrize(
    ("names", "fields", "seeds"),
    [
        ("clip_folder", {}, [1, 2, 3]),
        ("hmdb51", {}, [1]),
        ("hmdb51", {"seed": 7}, [7]),
        ("clip_lists", {}, [1]),
        ("clip_folder", {"seed": 2}, [2]),
        ("clip_csv", {"seeds": (5,)}, [5]),
    ],
)
def test_own_videos_run_three_seeds_as_images_do(names, fields, seeds):
    config = video_few_shot.get_config("vilt_clip")
    config.data.names, config.data.shots_list = names, (2,)
    config.update(fields)
    assert [one.seed for one in sweep.expand(config).values()] == seeds
