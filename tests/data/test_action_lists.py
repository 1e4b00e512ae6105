"""Action videos in ViFi-CLIP's lists: parts, names, files, and errors."""

import gzip
import pickle
import shutil

import pytest

from data_pipelines import check, datasets, sampling
from data_pipelines.datasets import TABLE
from data_pipelines.errors import DataError
from data_pipelines.images.readers import check_files, find_bad, missing_files
from data_pipelines.layouts import vifi_lists

NAMES = ["brush_hair", "cart wheel", "wave", "run"]
ACTION_SETS = ["hmdb51", "ucf101_clips", "ssv2", "kinetics400", "kinetics600"]


def lists_of(entries):
    return "".join(f"{clip} {label}\n" for clip, label in entries)


def names_of(names):
    # Like ViFi-CLIP's, some of which have Windows line endings.
    return "id,name\r\n" + "".join(f"{label},{name}\r\n" for label, name in enumerate(names))


def save(base, files):
    """Writes texts by path."""
    for name, text in files.items():
        path = base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="")


def write_lists(base, name, videos=8, names=NAMES):
    """Writes lists of a data set of four classes below `base`; the second half is novel."""
    layout = TABLE[name].layout
    all_ = [(f"it![{i}]_u_{i % 4}.avi", i % 4) for i in range(videos)]
    few, tested = all_[:4], all_[4:]
    files = {
        f"{layout.lists}/{layout.tests[0]}": lists_of(tested),
        f"{layout.lists}/train1_few_shot_1.txt": lists_of(few),
        f"{layout.lists}/train2_few_shot_1.txt": lists_of(few[::-1]),
        f"{layout.labels}": names_of(names),
        f"{layout.halves}/base_train.txt": lists_of(e for e in few if e[1] < 2),
        f"{layout.halves}/fs_base_s3_train.txt": lists_of(e for e in few if e[1] < 2),
        f"{layout.halves}/base_val.txt": lists_of(e for e in tested if e[1] < 2),
        f"{layout.halves}/novel_val.txt": lists_of((c, k - 2) for c, k in tested if k > 1),
        layout.half_labels.format("base"): names_of(names[:2]),
        layout.half_labels.format("novel"): names_of(names[2:]),
    }
    if layout.train:
        files[f"{layout.lists}/{layout.train}"] = lists_of(few)
    save(base, files)
    return [clip for clip, _ in all_]


def touch(folder, *paths):
    for path in paths:
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


@pytest.fixture
def hmdb(tmp_path):
    """Returns HMDB-51 with four classes, with videos in other directories than the original."""
    videos = write_lists(tmp_path, "hmdb51")
    touch(tmp_path / "hmdb51", *videos[:4], *(f"deeper/er/{clip}" for clip in videos[4:]))
    return tmp_path


def listed(examples):
    return [(example.image, example.label, example.name) for example in examples]


def test_parts_are_those_with_existing_lists(hmdb):
    assert datasets.parts("hmdb51", hmdb) == (
        *("val1", "few_shot_1_1", "few_shot_1_2", "base", "base_3", "novel"),
    )
    whole = datasets.load("hmdb51", hmdb)
    assert (whole.train, whole.val) == ((), ()) and len(whole.test) == 4 and whole.kind == "videos"
    assert whole.class_names == ("brush hair", "cart wheel", "wave", "run")
    assert whole.template == "a video of a person doing {}."
    assert datasets.load("hmdb51:val1", hmdb).test == whole.test
    few = datasets.load("hmdb51:few_shot_1", hmdb)
    assert few.test == whole.test and few.name == "hmdb51:few_shot_1"
    assert listed(few.train)[:2] == [
        ("it![0]_u_0.avi", 0, "brush hair"),
        ("it![1]_u_1.avi", 1, "cart wheel"),
    ]
    source = "datasets_splits/hmdb_splits/train1_few_shot_1.txt, datasets_splits/hmdb_splits/"
    assert few.split_source == source + "val1.txt"
    assert datasets.load("hmdb51", hmdb, domain="few_shot_1_2").train == few.train[::-1]
    base, novel = (datasets.load(f"hmdb51:{part}", hmdb) for part in ("base_3", "novel"))
    assert base.class_names == ("brush hair", "cart wheel") and novel.class_names == ("wave", "run")
    assert listed(novel.test) == [
        ("deeper/er/it![6]_u_2.avi", 0, "wave"),
        ("deeper/er/it![7]_u_3.avi", 1, "run"),
    ]
    assert novel.train == () and len(base.train) == len(base.test) == 2
    assert datasets.load("hmdb51:base", hmdb).train == base.train
    check_files(whole, (*few.train, *whole.test))
    assert pickle.loads(pickle.dumps(few)) == few
    # Examples drawn by `sampling` are not parts.
    assert datasets.parts("emoji_clips") == datasets.parts("dtd") == ()


@pytest.mark.parametrize("place", ["hmdb51", "ViFi-CLIP", "elsewhere"])
def test_lists_are_beside_the_videos_or_in_the_cloned_repository(tmp_path, place):
    base = tmp_path / "root" / place if place != "elsewhere" else tmp_path / place
    videos = write_lists(base, "hmdb51")
    touch(tmp_path / "root/hmdb51", *videos)
    options = {"lists": str(base)} if place == "elsewhere" else {}
    assert len(datasets.load("hmdb51:novel", tmp_path / "root", **options).test) == 2
    assert "novel" in datasets.parts("hmdb51", tmp_path / "root", **options)
    # The data set's own directory as the root.
    if place != "ViFi-CLIP":
        assert len(datasets.load("hmdb51", tmp_path / "root/hmdb51", **options).test) == 4


def test_class_directories_in_listed_paths_and_on_disk(tmp_path):
    entries = [("jump/a.mp4", 0), ("run/a.mp4", 1), ("train/x y.mp4", 1), ("train/b.avi", 0)]
    for file in ("train", "val"):
        save(tmp_path, {f"lists/{file}.txt": lists_of(entries)})
    save(tmp_path, {"labels/labels.csv": names_of(["jump", "run"])})
    touch(tmp_path / "videos", "jump/a.mp4", "run/a.mp4", "train/run/x y.mp4")
    # Of two suffixes, the listed one.
    touch(tmp_path / "videos", "b.avi", "copies/b.mp4")
    dataset = datasets.load("clip_lists", tmp_path)
    assert [example.image for example in dataset.train] == [
        "jump/a.mp4",
        "run/a.mp4",
        "train/run/x y.mp4",
        "b.avi",
    ]
    touch(tmp_path / "videos", "again/b.avi")
    with pytest.raises(DataError, match=r"1 videos have several files .*\n  again/b.avi and"):
        datasets.load("clip_lists", tmp_path)


def test_kinetics_600_has_other_classes_in_each_split(tmp_path):
    layout = TABLE["kinetics600"].layout
    for number, names in ((1, ["jump", "run"]), (2, ["sing", "dance"])):
        listed_ = [(f"train/{names[label]}.mp4", label) for label in (0, 1)]
        save(tmp_path, {layout.labels.format(number): names_of(names)})
        save(tmp_path, {f"{layout.lists}/{layout.tests[number - 1]}": lists_of(listed_)})
        touch(tmp_path / "kinetics600/train", *(f"{name}.mp4" for name in names))
    assert datasets.parts("kinetics600", tmp_path) == ("val1", "val2")
    assert datasets.load("kinetics600", tmp_path).class_names == ("jump", "run")
    assert datasets.load("kinetics600:val2", tmp_path).class_names == ("sing", "dance")
    with pytest.raises(DataError, match="unknown part of kinetics600: 'novel'.*: val1, val2"):
        datasets.load("kinetics600:novel", tmp_path)


def test_missing_videos_are_listed_with_their_directory(hmdb):
    (hmdb / "hmdb51/it![1]_u_1.avi").unlink()
    dataset = datasets.load("hmdb51:few_shot_1", hmdb)
    assert missing_files(dataset, dataset.train) == ["it![1]_u_1.avi"]
    with pytest.raises(DataError) as error:
        check_files(dataset, dataset.train)
    first, clip = str(error.value).splitlines()[:2]
    assert first == f"hmdb51:few_shot_1: 1 of 4 videos are missing in {hmdb / 'hmdb51'}:"
    assert clip == "  it![1]_u_1.avi"
    shutil.rmtree(hmdb / "hmdb51")
    (hmdb / "hmdb51").mkdir()
    with pytest.raises(DataError, match=r"none of the 4 listed videos, e.g. it!\[4\]"):
        datasets.load("hmdb51", hmdb)


REFUSED = {
    "a label without a name": (
        {"labels/hmdb_51_labels.csv": names_of(NAMES[:3])},
        r"val1.txt, line 4: the label 3 has no name in .*hmdb_51_labels.csv, which names 0 to 2",
    ),
    "names of another data set": (
        {"labels/hmdb_51_labels.csv": names_of([*NAMES, "tie", "dye"])},
        r"hmdb_51_labels.csv names 6 classes, but .*val1.txt have no video of 2, e.g. 'tie' "
        r"\(4\); use this data set's file of class names",
    ),
    "names without ids": (
        {"labels/hmdb_51_labels.csv": "name\nrun\n"},
        "the first line lacks the columns id",
    ),
    "an id twice": (
        {"labels/hmdb_51_labels.csv": "id,name\n0,run\n0,sit\n"},
        "hmdb_51_labels.csv, line 3: the id is '0'; .* each id must be unique",
    ),
    "an id that is left out": (
        {"labels/hmdb_51_labels.csv": "id,name\n1,run\n2,sit\n"},
        "names 2 classes, but not id 0; add it",
    ),
    "a line without a label": (
        {"datasets_splits/hmdb_splits/val1.txt": "it![4]_u_0.avi\n"},
        r"val1.txt, line 1: 'it!\[4\]_u_0.avi' must be a path, a space and a label",
    ),
    "a label that is no number": (
        {"datasets_splits/hmdb_splits/val1.txt": "a.avi 0\n\nb.avi -1\n"},
        "val1.txt, line 3: 'b.avi -1' must be a path, a space and a label",
    ),
    "a path that leaves the folder": (
        {"datasets_splits/hmdb_splits/val1.txt": "../a.avi 0\n"},
        r"val1.txt, line 1 has the path '\.\./a.avi'; it must be a path inside",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_errors_are_one_line(hmdb, case):
    files, message = REFUSED[case]
    save(hmdb, files)
    with pytest.raises(DataError, match=message) as error:
        datasets.load("hmdb51", hmdb)
    assert "\n" not in str(error.value)


def test_missing_parts(hmdb):
    message = r"no file .*train1_few_shot_8.txt; copy it .* whose lists exist: val1, few_shot_1_1"
    with pytest.raises(DataError, match=message):
        datasets.load("hmdb51:few_shot_8", hmdb)
    with pytest.raises(DataError, match="unknown part of hmdb51: 'bse'. Did you mean 'base'"):
        datasets.load("hmdb51:bse", hmdb)
    with pytest.raises(DataError, match="unknown part of hmdb51: 'few_shot_0'"):
        datasets.load("hmdb51:few_shot_0", hmdb)
    with pytest.raises(
        DataError, match=r"the directory of lists is missing; looked for\n  .*/hmdb51/datasets_sp"
    ):
        datasets.load("hmdb51", hmdb / "hmdb51")


def test_kinetics_without_its_largest_lists_is_reported_and_tested(tmp_path):
    videos = write_lists(tmp_path, "kinetics400")
    touch(tmp_path / "kinetics400", *(f"val/{clip}" for clip in videos))
    assert len(datasets.load("kinetics400", tmp_path).train) == 4
    layout = TABLE["kinetics400"].layout
    (tmp_path / layout.lists / "train.txt").unlink()
    (tmp_path / layout.halves / "base_train.txt").unlink()
    for name, file in (("kinetics400", "train.txt"), ("kinetics400:base", "base_train.txt")):
        with pytest.raises(DataError, match=f"no file .*/{file}; copy it from the repository"):
            datasets.load(name, tmp_path)
    assert len(datasets.load("kinetics400:val", tmp_path).test) == 4
    finding = check.check("kinetics400", tmp_path, quick=True)
    assert finding.dataset.name == "kinetics400:val"
    assert len(finding.problems) == 1 and "train.txt; copy it" in finding.problems[0]


def test_check_covers_every_part(hmdb):
    save(
        hmdb,
        {
            "labels/hmdb_51_novel_labels.csv": names_of(["wave"]),
            "datasets_splits/hmdb_splits/train2_few_shot_1.txt": "gone.avi 0\n" * 2
            + lists_of([(f"it![{i}]_u_{i}.avi", i) for i in (1, 2, 3)]),
        },
    )
    problems = check.check("hmdb51", hmdb, quick=True).problems
    assert "4 classes; published: 51" in problems and "missing: gone.avi" in problems
    assert any("the label 1 has no name in" in problem for problem in problems)
    assert any(p.startswith("few_shot_1_2: videos listed more than once") for p in problems)
    assert not any("train" in p.split(":")[0] for p in problems)
    part = check.check("hmdb51:few_shot_1", hmdb, quick=True)
    assert part.problems == () and check.passed([part], True)
    assert not check.check("ssv2", hmdb, quick=True).found


# Counts underlying the paper's tables: classes and test videos of both halves, and of all.
PUBLISHED = {
    "hmdb51": ((26, 780), (25, 750), (1530, 1530, 1530)),
    "ucf101_clips": ((51, 2088), (50, 1695), (3783, 3734, 3696)),
    "kinetics400": ((200, 9944), (200, 9933), (19_877,)),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_lists_match_their_names(name, shared, tmp_path):
    layout = TABLE[name].layout
    base = shared / "data/video/benchmark_lists/vifi_clip"
    if not base.is_dir():
        pytest.skip(f"no published lists: {base}")
    *halves, tests = PUBLISHED[name]

    def read(folder, file):
        path = base / folder / file
        if not path.is_file():  # the large ones are compressed
            packed, path = path.with_name(f"{file}.gz"), tmp_path / file
            path.write_bytes(gzip.decompress(packed.read_bytes()))
        return vifi_lists.read_list(path)

    names = vifi_lists.read_names(base / layout.labels)
    assert len(names) == TABLE[name].num_classes
    for file, count in zip(layout.tests, tests, strict=True):
        read_ = read(layout.lists, file)
        assert len(read_) == count and {each.label for each in read_} == set(range(len(names)))
    for half, (classes, count) in zip(("base", "novel"), halves, strict=True):
        names = vifi_lists.read_names(base / layout.half_labels.format(half))
        read_ = read(layout.halves, f"{half}_val.txt")
        assert (len(names), len(read_)) == (classes, count)
        assert {each.label for each in read_} == set(range(classes))


def test_hmdb_with_its_published_lists(shared, tmp_path):
    base = shared / "data/video/benchmark_lists/vifi_clip"
    if not base.is_dir():
        pytest.skip(f"no published lists: {base}")
    layout = TABLE["hmdb51"].layout
    files = [*(base / layout.lists).glob("*.txt"), *(base / layout.halves).glob("*.txt")]
    videos = {each.video for file in files for each in vifi_lists.read_list(file)}
    touch(tmp_path / "hmdb51", *videos)
    few = datasets.load("hmdb51:few_shot_16", tmp_path, lists=base)
    assert len(few.train) == 16 * 51 and len(few.test) == 1530
    assert sampling.few_shot(few, 16, 1).train != () and few.class_names[0] == "brush hair"
    for part in datasets.parts("hmdb51", tmp_path, base):
        dataset = datasets.load(f"hmdb51:{part}", tmp_path, lists=base)
        assert missing_files(dataset, (*dataset.train, *dataset.test)) == []


@pytest.mark.parametrize("name", ["videos_actions", "videos_exercises"])
def test_real_videos_are_read_in_every_part(name, shared):
    root = shared / "data/video" / name
    if not root.is_dir():
        pytest.skip(f"no real videos: {root}")
    parts = datasets.parts("clip_lists", root)
    assert {"val", "few_shot_8_3", "base_2", "novel"} <= set(parts)
    whole = datasets.load("clip_lists", root)
    classes = len(whole.class_names)
    base, novel = (datasets.load(f"clip_lists:{part}", root) for part in ("base_1", "novel"))
    assert len(base.class_names) == len(novel.class_names) == classes // 2
    assert len(base.test) + len(novel.test) == len(whole.test)
    assert base.class_names + novel.class_names == whole.class_names
    assert find_bad(whole, (*whole.train[::9], *whole.test[::9]), decode=False) == []
    assert whole.read(whole.test[0]).count > 1


@pytest.mark.parametrize("name", ACTION_SETS)
def test_the_root_must_be_a_directory(name, tmp_path):
    with pytest.raises(
        DataError, match=rf"{name}: root {tmp_path}/none is not a directory\nExpected"
    ):
        datasets.load(name, tmp_path / "none")
