"""Every user error gives a one-line message and exit code 2, without a traceback."""

import json
from pathlib import Path
from typing import NamedTuple

import pytest
import tiny
from tiny import SPLIT

from experiments import results
from experiments.cli import command_line
from experiments.run import experiment
from prompt_jax.errors import PromptError

SWEEP = "--config=experiments/configs/images/few_shot.py:coop"
FIELDS = ("--config.data.names=emoji_scenes", "--config.data.shots_list=(1,)")


class Setting(NamedTuple):
    """The tiny CLIP, and a data set of this test."""

    clip: Path
    root: Path

    @property
    def images(self) -> Path:
        """Returns the directory of images."""
        return self.root / "caltech-101/101_ObjectCategories"


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Returns the tiny CLIP."""
    return tiny.save_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture
def setting(clip, tmp_path):
    """Returns fresh files, for tests that damage them."""
    return Setting(clip, tiny.save_caltech101(tmp_path / "data"))


@pytest.fixture
def fails(setting, tmp_path, monkeypatch, capsys):
    """Runs a method with changed fields; returns the error after "error: "."""

    def call(method="zero_shot", *words, **fields):
        config = tiny.small_config(method, setting.clip, setting.root)
        for name in [key for key in fields if key in config.data]:
            config.data[name] = fields.pop(name)
        config.update(fields)
        workdir = tmp_path / "workdir"
        code = tiny.run_main([*tiny.arguments(config, workdir), *words], monkeypatch)
        printed = capsys.readouterr().err
        _, _, error = printed.partition("error: ")
        assert (code, "Traceback" in printed) == (2, False), printed
        return error

    return call


def one_line(error):
    assert error.count("\n") == 1, error
    return error


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "caltech-101"}, "unknown data set 'caltech-101'. Did you mean 'caltech101'"),
        ({"name": "flowers"}, "Did you mean 'flowers102'"),
        ({"backbone": "ViT-B/61"}, "Did you mean 'ViT-B/16'"),
        ({"backbone": "embeded"}, "Did you mean 'embedded'"),
        ({"backbone": "./nowhere"}, "nowhere: no such file or directory"),
        (
            {"protocol": "base-to-new"},
            "unknown value of config.protocol: 'base-to-new'. Did you mean",
        ),
        ({"dtype": "float16"}, "unknown value of config.dtype: 'float16'. Did you mean"),
        (
            {"on_bad_image": "skp"},
            "unknown value of config.data.on_bad_image: 'skp'. Did you mean 'skip'",
        ),
        ({"activation": "gelo"}, "gelo"),
        ({"batch_size": 0}, "config.batch_size=0 must be at least 1"),
        ({"epochs": -1}, "config.epochs=-1 must be at least 0"),
        ({"learning_rate": 0.0}, "config.learning_rate=0.0 must be a finite number, above 0"),
        (
            {"learning_rate": float("nan")},
            "learning_rate=nan must be a finite number, above 0",
        ),
        (
            {"learning_rate": float("inf")},
            "learning_rate=inf must be a finite number, above 0",
        ),
        (
            {"momentum": -0.9},
            "momentum=-0.9 must be a finite number, at least 0 and below 1",
        ),
        ({"weight_decay": float("nan")}, "config.weight_decay=nan must be"),
        ({"seed": -1}, "config.seed=-1 must be at least 0 and at most 4294967295"),
        ({"shots": 0}, "config.data.shots=0 must be at least 1"),
        (
            {"also_test": "dtd"},
            "config.data.also_test=dtd: only config.protocol=retrieval searches",
        ),
        ({"num_threads": -2}, "config.data.num_threads=-2 must be at least -1"),
        ({"domain": "sketch"}, "unknown option of the data set caltech101: 'domain'"),
        ({"name": "emoji_scenes", "domain": "scetch"}, "Did you mean 'sketch'"),
        ({"names": "caltech101,dtdd"}, "unknown data set 'dtdd'. Did you mean 'dtd'"),
        ({"source": "tdfs"}, "unknown value of config.data.source: 'tdfs'. Did you mean 'tfds'"),
        ({"optimizer": "adam"}, "unknown value of config.optimizer: 'adam'. Did you mean 'adamw'"),
        ({"schedule": "cosin"}, "Did you mean 'cosine'"),
        ({"memory_gb": -1.0}, "config.memory_gb=-1.0 must be a finite number, at least 0"),
        ({"cached_views": -1}, "config.cached_views=-1 must be at least 0"),
        ({"num_workers": -1}, "config.data.num_workers=-1 must be at least 0"),
        ({"name": "emoji_scenes", "num_classes": 999}, "num_classes=999: must be from 1 to"),
        ({"name": "emoji_scenes", "num_classes": -1}, "num_classes=-1: must be from 1 to"),
        (
            {"name": "emoji_scenes", "num_classes": 1},
            "base-to-novel needs at least 2 classes, found 1",
        ),
    ],
)
def test_values_out_of_range(fails, fields, message):
    assert message in one_line(fails(**fields))


@pytest.mark.parametrize(
    ("method", "words", "message"),
    [
        ("pro_mpt", ["--config.method=coopp"], "unknown method 'coopp'. Did you mean 'coop'"),
        (
            "pro_mpt",
            ["--config.method=coop"],
            "which coop does not have; its settings are class_spec",
        ),
        (
            "pro_mpt",
            ["--config.method=coop"],
            "Use --config=experiments/configs/images/method.py:coop",
        ),
        ("zero_shot", ["--config.method=coop"], "config.settings has templates, which coop"),
        ("pro_mpt", ["--config.settings.iterations=-1"], "iterations=-1 must be at least 0"),
        ("pro_mpt", ["--config.settings.stop_gradient=some"], "stop_gradient='some' is not one of"),
        ("pro_mpt", ["--config.settings.context_length=1"], "context"),
        ("pro_mpt", ["--config.cached_views=2"], "the prompts of pro_mpt change the output"),
        ("gda", [], "gda is computed from the training images' features; set it to the number"),
        (
            "coop",
            ["--config.settings.class_specific=True"],
            "and none for 2 of 2 classes, e.g. 'garfield'; test it on the classes it trains on",
        ),
        (
            "coop",
            ["--config.settings.context_length=99"],
            "tokens, 99 of them context vectors; the text tower has 77",
        ),
    ],
)
def test_settings_of_methods(fails, method, words, message):
    assert message in one_line(fails(method, *words))


def test_missing_data_shows_the_layout(fails, setting):
    for error in (fails(root=""), fails(root=str(setting.root / "nowhere"))):
        assert "Expected layout:\n  <root>/\n    caltech-101/\n" in error
        assert "root is not set" in error or "nowhere is not a directory" in error
    split = setting.root / "caltech-101" / SPLIT
    split.rename(split.with_suffix(".old"))
    error = fails()
    assert f"no split file; looked for\n  {split}\n" in error and "Expected layout:" in error
    split.write_text("{}")
    assert "lists train, val, test" in one_line(fails())


def test_a_split_without_test_images(fails, setting):
    path = setting.root / "caltech-101" / SPLIT
    path.write_text(json.dumps(json.loads(path.read_text()) | {"test": []}))
    assert one_line(fails()).startswith("caltech101 has no test images (base): its split")


def damage(setting):
    """Truncates one image and replaces another by text, both given by their keys."""
    cut, page = "pagoda/image_0004.jpg", "sea_horse/image_0001.jpg"
    path = setting.images / cut
    path.write_bytes(path.read_bytes()[:-200])
    (setting.images / page).write_text("<html>Not found</html>")
    return cut, page


def test_missing_images_stop_the_run_before_it_starts(fails, setting, tmp_path):
    names = ("pagoda/image_0004.jpg", "garfield/image_0005.jpg")
    for name in names:
        (setting.images / name).unlink()
    error = fails("coop")
    assert f"caltech101: 2 of 18 images are missing in {setting.images}:" in error
    assert all(f"\n  {name}\n" in error for name in names)
    assert not (tmp_path / "workdir").exists()


@pytest.mark.parametrize("num_threads", [0, 2])
def test_unreadable_images_stop_the_run_with_a_list_of_all(fails, setting, num_threads):
    cut, page = damage(setting)
    error = fails(num_threads=num_threads)
    assert "caltech101: 2 of 18 images cannot be read:\n" in error
    assert f"\n  {setting.images / page}: not an image" in error
    assert f"\n  {setting.images / cut}: image file is truncated" in error
    assert error.endswith("skip them with --config.data.on_bad_image=skip.\n")


def test_skipping_excludes_and_counts_them(setting, tmp_path, monkeypatch, capsys):
    cut, page = damage(setting)
    lost = "accordion/image_0003.jpg"
    (setting.images / lost).unlink()
    config = tiny.small_config("zero_shot", setting.clip, setting.root)
    config.data.on_bad_image = "skip"
    assert tiny.run_main(tiny.arguments(config, tmp_path / "workdir"), monkeypatch) == 0
    assert "skipped 3 unreadable images" in capsys.readouterr().out
    results = json.loads((tmp_path / "workdir/results.json").read_text())
    skipped = results["skipped_pictures"]
    assert [line.split(": ")[0] for line in skipped] == [
        str(setting.images / name) for name in (page, cut, lost)
    ]
    assert results["pictures"] == {"train": 5, "test_base": 5, "test_new": 5}


def test_no_readable_image_at_all(fails, setting):
    for path in setting.images.rglob("*.jpg"):
        path.write_text("")
    error = one_line(fails(on_bad_image="skip"))
    assert error == "caltech101 has no test images (base): all of them are unreadable\n"


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_an_invalid_workdir(fails, tmp_path, place):
    (tmp_path / "file").write_text("")
    error = one_line(fails("zero_shot", f"--workdir={tmp_path / place}"))
    assert error.startswith(f"--workdir={tmp_path / place} cannot be created: ")


def test_the_workdir_of_another_run(fails, setting, tmp_path):
    experiment.run(tiny.small_config("zero_shot", setting.clip, setting.root), tmp_path / "workdir")
    assert "holds another run (method: 'coop' here, 'zero_shot' there; " in one_line(fails("coop"))
    other = tiny.save_clip(tmp_path / "other")
    assert "(backbone.source: " in one_line(fails(backbone=str(other)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "environment", "message"),
    [
        (
            ["--config=experiments/configs/images/coup.py"],
            {},
            "Did you mean 'experiments/configs/images/coop.py'",
        ),
        (
            ["--config=experiments/configs/base_to_novel.py:maple"],
            {},
            "use --config=experiments/configs/images/base_to_novel.py:maple",
        ),
        (
            ["--config=experiments/configs/images/coop.py", "--config.epoch=1"],
            {},
            "unknown config key 'epoch'",
        ),
        (
            ["--config=experiments/configs/images/coop.py", "--config.batch_size=100"],
            {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"},
            "batch_size=100 is not divisible by 8 devices; use 96 or 104",
        ),
        (
            ["--config=experiments/configs/images/coop.py", "--config.mesh=data:3,model:2"],
            {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"},
            "config.mesh='data:3,model:2' is a mesh of 6 devices, and there are 8; use data:8 or "
            "data:4,model:2 or data:2,model:4 or data:1,model:8",
        ),
    ],
    ids=["no config", "moved config", "unknown key", "devices", "mesh"],
)
def test_real_processes(words, environment, message, tmp_path):
    process = tiny.command(
        "-m", "experiments.main", *words, f"--workdir={tmp_path / 'workdir'}", **environment
    )
    output, errors = process.communicate(timeout=300)
    assert (process.returncode, output) == (2, ""), errors
    assert one_line(errors).startswith("error: ") and message in errors
    assert not (tmp_path / "workdir").exists()


@pytest.fixture
def sweep_of(tmp_path, monkeypatch):
    """Runs seeds, of which those in `refused` fail; returns the directories with tables."""
    reported = []
    monkeypatch.setattr(results, "report", lambda folder: reported.append(folder))

    def call(seeds, refused):
        def run(config, folder):
            if config.seed in refused:
                raise PromptError(f"{folder} holds another run; use another --workdir")
            folder.mkdir(parents=True)
            (folder / "results.json").write_text("{}")
            return {}

        monkeypatch.setattr(experiment, "run", run)
        words = [SWEEP, *FIELDS, f"--config.seeds={seeds}", f"--workdir={tmp_path}"]
        assert tiny.run_main(words, monkeypatch) == (command_line.USAGE_ERROR if refused else 0)
        return reported

    return call


def test_a_reason_of_all_runs_is_printed_once_without_tables_of_earlier_runs(
    sweep_of, tmp_path, capsys
):
    (tmp_path / "results.json").write_text("{}")  # of an earlier run
    assert sweep_of("(1, 2, 3)", {1, 2, 3}) == []
    (error,) = [line for line in capsys.readouterr().err.splitlines() if "holds another" in line]
    names = ", ".join(f"emoji_scenes/coop/few_shot-1shots-seed{seed}" for seed in (1, 2, 3))
    assert error == f"  {names}: {tmp_path}/RUN holds another run; use another --workdir"


def test_the_reason_of_a_single_run_is_the_whole_message(sweep_of, tmp_path, capsys):
    assert sweep_of("(1,)", {1}) == []
    printed = capsys.readouterr()
    folder = tmp_path / "emoji_scenes/coop/few_shot-1shots-seed1"
    assert printed.err == f"error: {folder} holds another run; use another --workdir\n"
    assert "failed" not in printed.out


def test_finished_runs_are_in_tables_though_others_failed(sweep_of, tmp_path, capsys):
    assert sweep_of("(1, 2, 3)", {2}) == [tmp_path]
    printed = capsys.readouterr()
    failed = "emoji_scenes/coop/few_shot-1shots-seed2"
    assert f"failed: {failed}: {tmp_path / failed} holds another run" in printed.out
    assert "1 of 3 runs failed; once the cause is removed, run again to" in printed.err
