"""All images of a run are checked before its first step."""

import re
import shutil

import numpy as np
import pytest
from PIL import Image

from data_pipelines import check, datasets
from data_pipelines.errors import DataError
from data_pipelines.images import readers
from data_pipelines.images.readers import FolderReader
from data_pipelines.layouts import automatic, video_files
from experiments.config.config import read
from experiments.configs import default
from experiments.setup import overview, plans


@pytest.fixture
def config(tmp_path):
    """Returns a config with two classes of four training and two test images, one shot."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("test", 2)):
        for name in ("cat", "dog"):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.jpg")
    config = default.get_config("coop")
    config.protocol = "few_shot"
    config.data.name, config.data.root, config.data.shots = "folder", str(tmp_path), 1
    return config


def cut(path):
    path.write_bytes(path.read_bytes()[:700])


def test_every_broken_test_image_is_listed_before_training(config, tmp_path):
    cut(tmp_path / "test/cat/0.jpg")
    (tmp_path / "test/dog/1.jpg").write_bytes(b"")
    plan = plans.build(read(config), 32, False)
    with pytest.raises(DataError, match="2 of 6 images cannot be read") as error:
        plans.check_images(plan)
    assert "test/cat/0.jpg: " in str(error.value) and "dog/1.jpg: an empty" in str(error.value)
    kept = plans.check_images(plan, skip_bad=True)
    assert len(kept.bad) == 2 and len(kept.tests["test"].test) == 2


def test_broken_images_that_were_not_drawn_are_reported(config, tmp_path, capsys):
    plan = plans.build(read(config), 32, False)
    drawn = {example.image for example in plan.train.train}
    others = [f"train/cat/{n}.jpg" for n in range(4) if f"train/cat/{n}.jpg" not in drawn]
    cut(tmp_path / others[0])
    assert plans.check_images(plan) == plan
    out = capsys.readouterr().out
    assert "1 training images that this seed did not draw cannot be read" in out
    assert others[0] in out


@pytest.mark.parametrize("protocol", ["few_shot", "base_to_novel"])
def test_a_broken_shot_is_replaced_by_another_of_its_class(config, tmp_path, protocol, monkeypatch):
    for name in ("emu", "fox"):
        for split in ("train", "test"):
            shutil.copytree(tmp_path / split / "cat", tmp_path / split / name)
    config.protocol, config.data.shots = protocol, 2
    whole = plans.build(read(config), 32, False)
    assert plans.check_images(whole, skip_bad=True) == whole
    drawn = [example.image for example in whole.train.train]
    first, others = drawn[0], drawn[1:]
    spare = [f"train/cat/{n}.jpg" for n in range(4) if f"train/cat/{n}.jpg" not in drawn]
    cut(tmp_path / first)
    looked_at = counted(monkeypatch, FolderReader, "__call__")
    plan = plans.check_images(plans.build(read(config), 32, False), skip_bad=True)
    now = [example.image for example in plan.train.train]
    assert now[0] in spare and now[1:] == others
    assert plan.replacements == (now[0],) and [path for path, _ in plan.bad] == [
        str(tmp_path / first)
    ]
    assert overview.shots_per_class(plan) == [2, 2]
    assert "replacements: 1 images" in "\n".join(overview.describe(plan, True))
    tested = {one.image for part in plan.tests.values() for one in part.test}
    assert {one.image for _, one in looked_at} == {*drawn, now[0], *tested}
    # First a replacement that is broken too, then a class without further images.
    cut(tmp_path / now[0])
    plan = plans.check_images(plans.build(read(config), 32, False), skip_bad=True)
    last = [example.image for example in plan.train.train]
    assert {now[0], last[0]} == set(spare) and last[1:] == others and len(plan.bad) == 2
    lines = [f"{path}: {reason}" for path, reason in plan.bad]
    again = plans.without(plans.build(read(config), 32, False), lines, replaces=True)
    assert (again.train, again.replacements) == (plan.train, plan.replacements)
    before = plans.without(plans.build(read(config), 32, False), lines, replaces=False)
    assert [example.image for example in before.train.train] == others
    cut(tmp_path / last[0])
    plan = plans.check_images(plans.build(read(config), 32, False), skip_bad=True)
    assert [example.image for example in plan.train.train] == others
    assert overview.shots_per_class(plan) == [1, 2] and not plan.replacements


def test_broken_files_are_left_out_before_an_automatic_split(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(10):
            pixels = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.jpg")
    config = default.get_config("coop")
    config.protocol, config.data.on_bad_image = "few_shot", "skip"
    config.data.update({"name": "folder", "root": str(tmp_path), "shots": 4})
    whole = plans.build(read(config), 32, False)
    assert not whole.bad and len(whole.drawn_from.train) == 10
    broken = [one.image for one in whole.drawn_from.train if one.name == "cat"][:2]
    for image in broken:
        cut(tmp_path / image)
    plan = plans.check_images(plans.build(read(config), 32, False), skip_bad=True)
    # Eight are readable: ⌈8/2⌉ for training, which are as many as shots; without them, three.
    assert overview.shots_per_class(plan) == [4, 4] and not plan.replacements
    # The one that moved was in the validation part; test images stay.
    assert plan.tests["test"].test == whole.tests["test"].test
    assert {path for path, _ in plan.bad} == {str(tmp_path / image) for image in broken}
    used = {one.image for one in (*plan.train.train, *plan.tests["test"].test)}
    assert used.isdisjoint(broken)
    assert len([one for one in plan.drawn_from.train if one.name == "dog"]) == 5
    listed = automatic.as_csv(plan.auto_split[0])
    unused = next(one.image for one in whole.drawn_from.val if one.name == "dog")
    cut(tmp_path / unused)
    again = plans.build(read(config), 32, False)
    assert again.train.train == plan.train.train  # runs that do not read it keep their images
    assert not any(str(tmp_path / image) in listed for image in broken)


def test_checking_many_images_shows_a_progress_bar(config, monkeypatch, capsys):
    monkeypatch.setattr(plans, "MANY", 2)
    plans.check_images(plans.build(read(config), 32, False))
    assert "checking the images of folder 6/6" in capsys.readouterr().err


def test_an_incomplete_download_is_one_message(config, tmp_path):
    (tmp_path / "test/cat/0.jpg").rename(tmp_path / "elsewhere.jpg")
    (tmp_path / "test/cat/0.jpg").symlink_to("nowhere.jpg")
    plan = plans.build(read(config), 32, False)
    expected = r"1 of 6 images are missing(.|\n)*Complete the download.*on_bad_image=skip"
    with pytest.raises(DataError, match=expected):
        plans.check_images(plan)
    cut(tmp_path / "test/dog/1.jpg")  # all problems are listed
    with pytest.raises(DataError, match="2 of 6 images cannot be read") as error:
        plans.check_images(plan)
    assert "test/cat/0.jpg: no such file" in str(error.value)


def counted(monkeypatch, module, name):
    """Returns the number of calls of a module's function, from now on."""
    calls, function = [], getattr(module, name)

    def counting(*arguments, **options):
        calls.append(arguments)
        return function(*arguments, **options)

    monkeypatch.setattr(module, name, counting)
    return calls


def test_data_is_loaded_once_and_files_are_looked_up_once(config, tmp_path, monkeypatch):
    loaded = counted(monkeypatch, datasets, "load")
    looked_for = counted(monkeypatch, readers, "missing_files")
    plan = plans.build(read(config), 32, False)
    plans.check_images(plan)
    assert len(plan.undrawn) == 6 and len(loaded) == 1 and not looked_for
    (tmp_path / "test/cat/0.jpg").unlink()
    with pytest.raises(DataError, match="are missing"):
        plans.check_images(plan)
    assert len(loaded) == len(looked_for) == 1


def test_windows_paths_are_explained(tmp_path):
    (tmp_path / "train/ant").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "train/ant/1.jpg")
    rows = ["path,label,split", r"train\ant\1.jpg,ant,train", r"test\ant\2.jpg,bee,test"]
    (tmp_path / "list.csv").write_text("\n".join(rows))
    dataset = datasets.load("csv", tmp_path)
    message = r"2 of their paths contain backslashes, as on Windows, e.g. train.ant.1.jpg; use /"
    with pytest.raises(DataError, match=message) as error:
        readers.check_files(dataset, (*dataset.train, *dataset.test))
    assert "Complete the download" not in str(error.value)
    assert any(re.search(message, problem) for problem in check.check("csv", tmp_path).problems)
    Image.new("RGB", (8, 8)).save(tmp_path / r"train\ant\1.jpg")  # a valid file name on this system
    readers.check_files(dataset, dataset.train)


def test_windows_paths_in_lists_of_videos_are_explained_too(tmp_path):
    with pytest.raises(
        DataError, match=r"is below .*; 1 of their paths contain backslashes, as on Windo"
    ):
        video_files.choose_files("clip_lists", tmp_path, {"run\\1.avi": ()})
    with pytest.raises(DataError, match="is below .*; put the videos, or a link to their dir"):
        video_files.choose_files("clip_lists", tmp_path, {"run/1.avi": ()})
