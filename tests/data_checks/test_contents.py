"""Files are identified by their contents: frames of videos, test sets and training sets."""

import json
import os
import shutil

import numpy as np
import pytest
import tiny
from PIL import Image
from video_files import write_folder

from data_pipelines import check
from data_pipelines.checks import contents, lists
from data_pipelines.errors import DataError
from data_pipelines.examples import Dataset, Example
from experiments import complete
from experiments.cli.command_line import explain
from experiments.config.config import read
from experiments.configs import default
from experiments.record import identity
from experiments.run import evaluating, experiment, reopening
from experiments.run.evaluation_plans import Model
from experiments.setup import overview, plans
from prompt_jax.errors import PromptError
from prompt_jax.models import saved
from prompt_jax.storage.files import seal
from prompt_jax.training.sharding import Placement


def test_a_file_is_identified_by_its_size_and_samples(tmp_path):
    file = tmp_path / "a.jpg"
    seen = set()
    for content in (b"", b"a", b"b", b"ab", b"a" * 9000, b"a" * 4500 + b"b" + b"a" * 4499):
        file.write_bytes(content)
        os.utime(file, ns=(len(seen), len(seen)))  # as if it was written later
        seen.add(contents.identify(file))
        file.with_name("b.jpg").write_bytes(content)
        assert contents.identify(file.with_name("b.jpg")) in seen
    assert len(seen) == 6
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(DataError, match="not a regular file"):
        contents.identify(tmp_path / "pipe.jpg")


def test_a_directory_of_frames_is_identified_by_all_frames(tmp_path):
    folder = write_folder(tmp_path / "clip", count=12)
    known = contents.identify(folder)
    shutil.copytree(folder, tmp_path / "copy")
    assert contents.identify(tmp_path / "copy") == known
    assert contents.digest(tmp_path / "copy") == contents.digest(folder)
    (folder / "notes.txt").touch()
    assert contents.identify(folder) == known  # not a frame
    frame = folder / "00005.jpg"
    before = frame.read_bytes()
    frame.write_bytes(before + b"x")
    assert contents.identify(folder) != known and contents.sizes(folder) != contents.sizes(
        tmp_path / "copy"
    )
    frame.write_bytes(before)
    assert contents.identify(folder) == known
    frame.rename(folder / "00013.jpg")
    assert contents.identify(folder) != known


def test_copied_directories_of_frames_are_found_like_files(tmp_path, capsys):
    for split in ("train", "test"):
        for count, name in enumerate(("run", "sit"), 4 + 2 * (split == "test")):
            write_folder(tmp_path / split / name / f"{split}-{name}", count=count)
    assert not check.check("clip_folder", tmp_path).problems
    shutil.copytree(tmp_path / "train/run/train-run", tmp_path / "test/run/again")
    problem = (
        "videos copied from another split: 1, e.g. test/run/again (same as train/run/train-run"
    )
    assert check.check("clip_folder", tmp_path).problems == (f"{problem})",)
    config = default.get_config("coop", kind="images")
    config.protocol, config.data.name, config.data.root = "few_shot", "clip_folder", str(tmp_path)
    config.data.shots, config.data.frames = 1, 2
    overview.show(plans.build(read(config), 32, False), 1, True)
    assert f"note: {problem}" in capsys.readouterr().out
    # Half of the test videos.
    shutil.copytree(tmp_path / "train/sit/train-sit", tmp_path / "test/sit/again")
    with pytest.raises(DataError, match="videos copied from another split: 2"):
        overview.show(plans.build(read(config), 32, False), 1, True)


def test_directories_without_frames_are_not_copies_of_each_other(tmp_path):
    examples = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        examples.append(Example(name, 0, "x"))
    dataset = Dataset("clip_csv", "{}", (examples[0],), (), (examples[1],), open, tmp_path)
    assert lists.find_copies(lists.splits(dataset)) == []


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Returns the directory of the tiny CLIP."""
    return tiny.save_clip(tmp_path_factory.mktemp("clip"))


def zero_shot_on_frames(clip, root):
    """Returns videos of two frames each, and a run that tests them."""
    for split in ("train", "test"):
        for label, name in enumerate(("run", "sit")):
            folder = root / split / name / f"{split}-{name}"
            folder.mkdir(parents=True)
            for number in (1, 2):
                colour = (90 * label, 40 * number, 10)
                Image.new("RGB", (40, 48), colour).save(folder / f"{number}.bmp")
    config = default.get_config("zero_shot", kind="images")
    config.backbone, config.protocol, config.data.name = str(clip), "few_shot", "clip_folder"
    config.data.root, config.data.frames, config.data.num_threads = str(root), 2, 0
    config.data.shots, config.eval_batch_size = 1, 2
    return config


def test_replaced_frames_and_images_of_equal_size_are_detected(clip, tmp_path, capsys):
    config = zero_shot_on_frames(clip, tmp_path / "data")
    experiment.run(config, tmp_path / "run")
    experiment.run(config, tmp_path / "run")
    assert "already finished" in capsys.readouterr().out
    model = Model(tmp_path / "run", saved.read(tmp_path / "run"))
    changes = {"data.root": str(tmp_path / "data"), "eval_batch_size": 2, "data.num_threads": 0}

    def evaluate():
        backbones = evaluating.Backbones(Placement())
        return evaluating.evaluate(model, "clip_folder", changes, backbones, Placement())

    first = evaluate()
    assert evaluate() == first and "already evaluated" in capsys.readouterr().out
    frame = tmp_path / "data/test/run/test-run/2.bmp"
    size = frame.stat().st_size
    Image.new("RGB", (40, 48), (1, 2, 3)).save(frame)
    assert frame.stat().st_size == size
    with pytest.raises(PromptError, match=r"on other images .*\(pictures.contents.tests.test: "):
        experiment.run(config, tmp_path / "run")
    with pytest.raises(
        PromptError, match=r"was tested \(test\) on other videos than the current ones"
    ):
        reopening.reopen(tmp_path / "run")
    assert evaluate() != first


def without(folder, name, *fields):
    """Removes fields from a JSON file in a directory, as an earlier version wrote it."""
    content = json.loads((folder / name).read_text())
    del content["digest"]
    for field in fields:
        place = content
        *above, last = field.split(".")
        for key in above:
            place = place[key]
        del place[last]
    (folder / name).write_text(json.dumps(seal(content)))


def test_runs_of_earlier_versions_are_finished_and_can_be_reopened(clip, tmp_path, capsys):
    config = zero_shot_on_frames(clip, tmp_path / "data")
    experiment.run(config, tmp_path / "run")
    without(tmp_path / "run", "results.json", "data_hashes.contents")
    capsys.readouterr()
    experiment.run(config, tmp_path / "run")
    assert "already finished" in capsys.readouterr().out
    assert reopening.reopen(tmp_path / "run").plan.tests


def test_parallel_runs_resume_without_fields_of_later_versions():
    one = {"seed": 1, "learning_rate": 0.1, "variant": ""}
    files = {"train": "ab", "tests": {"test": "cd"}}
    images = {"train": "01", "tests": {"test": "23"}, "sizes": files, "contents": files}
    earlier = {key: value for key, value in images.items() if key != "contents"}
    pair = (images, earlier)
    here, there = (identity.of_several([one | {"pictures": each}] * 2) for each in pair)
    assert not identity.differences(here, there)
    there["pictures"][1] = earlier | {"train": "ff"}
    assert identity.differences(here, there) == ["pictures.train: '01' here, 'ff' there"]


def test_an_evaluation_of_an_earlier_version_is_reused_for_files_only(
    clip, tmp_path, capsys, monkeypatch
):
    config = zero_shot_on_frames(clip, tmp_path / "frames")
    experiment.run(config, tmp_path / "run")
    model = Model(tmp_path / "run", saved.read(tmp_path / "run"))
    root = tiny.save_caltech101(tmp_path / "data", train=1, test=1)
    for name, place, again in (("caltech101", root, True), ("clip_folder", "frames", False)):
        changes = {"data.root": str(tmp_path / place), "data.num_threads": 0, "eval_batch_size": 2}
        arguments = (model, name, changes, evaluating.Backbones(Placement()), Placement())
        with monkeypatch.context() as patch:
            patch.setattr(identity, "of_test", identity.of_test_before)
            first = evaluating.evaluate(*arguments)
        capsys.readouterr()
        assert (evaluating.evaluate(*arguments) == first) == again
        assert ("already evaluated" in capsys.readouterr().out) == again


def test_a_model_is_not_completed_from_other_training_images(clip, tmp_path, capsys):
    root = tiny.save_caltech101(tmp_path / "data", train=4, test=4)
    config = tiny.small_config("gda", clip, root)
    config.protocol, config.cached_views, config.data.shots = "few_shot", 1, 4
    run = tmp_path / "run"
    results = experiment.run(config, run)
    for name in (saved.MODEL, saved.PROMPTS):
        (run / name).unlink()
    images = root / "caltech-101/101_ObjectCategories"
    trained_on = sorted(path for path in images.rglob("*.jpg") if path.stem < "image_0004")
    originals = [path.read_bytes() for path in trained_on]
    longest = max(map(len, originals))
    padded = [content.ljust(longest, b"\0") for content in originals]

    def put(contents):
        for path, content in zip(trained_on, contents, strict=True):
            path.write_bytes(content)

    put(padded[4:] + padded[:4])  # images of the next class
    assert explain(complete.start, [str(run)]) == 2
    assert "was trained on other images than the current ones" in capsys.readouterr().err
    # An earlier version, which recorded only the names of training images.
    without(run, "results.json", "data_hashes.contents", "data_hashes.sizes.train")
    assert explain(complete.start, [str(run)]) == 2
    error = capsys.readouterr().err
    assert "its prompts reach " in error and "but the run reached" in error
    assert not (run / saved.MODEL).exists()
    put(originals)
    before = sorted(path.name for path in run.iterdir())
    assert explain(complete.start, [str(run)]) == 0
    assert saved.read(run).trained["accuracy"] == results["accuracy"]
    assert sorted(path.name for path in run.iterdir()) == sorted(
        [*before, saved.MODEL, saved.PROMPTS]
    )
    assert np.isfinite(results["accuracy"]["test"])
