"""Lists of captioned videos, in the files of each data set and in a user's CSV."""

import json
import pickle
from types import SimpleNamespace

import pytest

from data_pipelines import check, datasets
from data_pipelines.checks import findings, lists
from data_pipelines.errors import DataError
from data_pipelines.images.readers import missing_files
from data_pipelines.layouts import automatic


def write(folder, **files):
    """Writes files by name: text, or JSON of other content; "__" stands for "."."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")


def touch(folder, *paths):
    for path in paths:
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def captions_by_video(examples):
    return {example.image: example.captions for example in examples}


def sentences(*pairs):
    return {"sentences": [{"video_id": clip, "caption": text} for clip, text in pairs]}


@pytest.fixture
def msrvtt(tmp_path):
    """Returns two training videos, one with two captions, and two test videos."""
    home = tmp_path / "MSRVTT"
    write(
        home,
        MSRVTT_data__json=sentences(
            ("video0", "a cat  sleeps"),
            ("video1", "a dog barks"),
            ("video0", "a cat on a bed"),
            ("video7", "not the one of the test list"),
        ),
        MSRVTT_train__9k__csv="video_id\nvideo0\nvideo1\n",
        MSRVTT_JSFUSION_test__csv="key,vid_key,video_id,sentence\n"
        'ret0,msr7,video7,"a man, who sings"\nret1,msr9,video9,a bird flies\n',
    )
    touch(home, "all/video0.mp4", "all/video1.webm", "test/deeper/video7.MP4", "video9/00001.jpg")
    return tmp_path


def test_msrvtt(msrvtt):
    dataset = datasets.load("msrvtt_9k", msrvtt)
    assert dataset.kind == "videos" and not dataset.has_classes and dataset.val == ()
    assert captions_by_video(dataset.train) == {
        "all/video0.mp4": ("a cat sleeps", "a cat on a bed"),
        "all/video1.webm": ("a dog barks",),
    }
    assert captions_by_video(dataset.test) == {
        "test/deeper/video7.MP4": ("a man, who sings",),
        "video9": ("a bird flies",),
    }
    assert dataset.notes == () and missing_files(dataset, dataset.test) == []
    assert {(e.label, e.name, e.span) for e in dataset.train} == {(0, "", None)}
    assert pickle.loads(pickle.dumps(dataset)) == dataset


def test_excluded_videos_are_noted_with_their_position(msrvtt):
    home = msrvtt / "MSRVTT"
    pairs = ("video0", "a cat"), ("video1", " "), ("video5", "a fish"), ("video6", "a whale")
    write(home, MSRVTT_data__json=sentences(*pairs))
    dataset = datasets.load("msrvtt_9k", msrvtt)
    assert len(dataset.train) == 1
    assert dataset.notes == (
        "empty captions: 1, left out, e.g. video1 (MSRVTT_data.json, sentences[1])",
        "captions of videos that no list names: 2, left out, e.g. video5 (MSRVTT_data.json, "
        "sentences[2])",
        "videos without a caption: 1, left out, e.g. video1 (MSRVTT_train.9k.csv, line 3)",
    )


def test_videos_without_a_file_are_missing(msrvtt):
    (msrvtt / "MSRVTT/all/video1.webm").unlink()
    dataset = datasets.load("msrvtt_9k", msrvtt)
    assert missing_files(dataset, dataset.train) == ["video1"]
    finding = check.check("msrvtt_9k", msrvtt, quick=True)
    assert "missing: video1" in finding.problems
    assert "train: 2 videos; published: 9000" in finding.problems
    assert not any("class" in problem for problem in finding.problems)


def test_no_video_or_two_files_of_one_video_are_errors(msrvtt):
    touch(msrvtt, "MSRVTT/copy/video0.avi")
    both = "all/video0.mp4 and copy/video0.avi"
    with pytest.raises(DataError, match=f"1 videos have several files .*keep one.*\n  {both}"):
        datasets.load("msrvtt_9k", msrvtt)
    home = msrvtt / "lists"
    home.mkdir()
    for path in (msrvtt / "MSRVTT").glob("MSRVTT_*"):
        path.rename(home / path.name)
    with pytest.raises(DataError, match="none of the 4 listed videos, e.g. video0"):
        datasets.load("msrvtt_9k", home)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"MSRVTT_data__json": []}, 'must be a JSON object with the list "sentences"'),
        ({"MSRVTT_data__json": {"sentences": [{"caption": "a"}]}}, r"sentences\[0\] is .*video_id"),
        ({"MSRVTT_train__9k__csv": "video\n1\n"}, "lacks the columns video_id; it has video"),
        ({"MSRVTT_train__9k__csv": "video_id\n../x\n"}, r"line 2 names the video '\.\./x'"),
        ({"MSRVTT_train__9k__csv": "video_id\n..\n"}, "without a directory"),
        ({"MSRVTT_JSFUSION_test__csv": "video_id,sentence\n,a\n"}, "line 2: video_id is empty"),
    ],
)
def test_a_malformed_file_is_named_in_the_error(msrvtt, files, message):
    write(msrvtt / "MSRVTT", **files)
    with pytest.raises(DataError, match=message):
        datasets.load("msrvtt_9k", msrvtt)


WORDS = {"a_1_2": [["a", "cat"], ["a", "kitten"]], "b.c_3": [["a", "dög"]], "d": [["x"]]}
SAID = {clip: tuple(map(" ".join, words)) for clip, words in WORDS.items()}


@pytest.fixture
def msvd(tmp_path):
    home = tmp_path / "MSVD"
    write(home, train_list__txt="a_1_2\n", val_list__txt="b.c_3\n\n", test_list__txt="d")
    touch(home, "v/a_1_2.avi", "v/b.c_3.avi", "v/d.avi")
    return home


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_msvd_reads_its_pickle_as_data(msvd, protocol):
    (msvd / "raw-captions.pkl").write_bytes(pickle.dumps(WORDS, protocol))
    dataset = datasets.load("msvd", msvd)
    lists_ = (dataset.train, dataset.val, dataset.test)
    assert [e.captions for each in lists_ for e in each] == list(SAID.values())
    write(msvd, captions_msvd__json=SAID)
    other = datasets.load("msvd", msvd)
    assert other.train == dataset.train and "captions_msvd.json" in other.split_source


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([["a"]], "must hold the captions of each video by its id"),
        ({"d": {"a": []}}, "must hold a list of captions for each id; 'd' has none"),
        ({"d": ["a cat"]}, "caption 0 of 'd' is not a list of words"),
    ],
)
def test_msvd_captions_of_another_form_are_rejected(msvd, content, message):
    (msvd / "raw-captions.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(DataError, match=message):
        datasets.load("msvd", msvd)


def lsmdc_line(clip, text):
    return "\t".join([clip, "0", "1", "0", "1", text]) + "\n"


def test_lsmdc(tmp_path):
    home = tmp_path / "LSMDC"
    train = "3086_UGLY_00.23.23.000-00.23.28.886"
    write(
        home,
        LSMDC16_annos_training__csv=lsmdc_line(train, 'SOMEONE says "so what\u2028now?"') * 2,
        LSMDC16_annos_val__csv=lsmdc_line("v_00.01", "She nods."),
        LSMDC16_challenge_1000_publictect__csv=lsmdc_line("t_00.02", "He's off."),
    )
    touch(home, f"UGLY/{train}.avi", "v/v_00.01.avi", "t/t_00.02.avi")
    dataset = datasets.load("lsmdc", home)
    caption = 'SOMEONE says "so what now?"'
    assert captions_by_video(dataset.train) == {f"UGLY/{train}.avi": (caption, caption)}
    assert captions_by_video(dataset.test) == {"t/t_00.02.avi": ("He's off.",)}
    write(home, LSMDC16_annos_val__csv="id\ta caption\n")
    with pytest.raises(DataError, match=r"val.csv, line 1: .* has 2 fields; it must have 6"):
        datasets.load("lsmdc", home)


def test_didemo_joins_descriptions_and_keeps_the_first_thirty_seconds(tmp_path):
    home = tmp_path / "DiDeMo"
    described = [("1@N00_2.mov", "a cat. "), ("3@N00_4.", "a dog"), ("1@N00_2.mov", "it sleeps.")]
    data = [{"video": clip, "description": text, "times": []} for clip, text in described]
    write(
        home,
        train_list__txt="1@N00_2.mov\n",
        val_list__txt="3@N00_4.\n3@N00_4.mts\n",
        test_list__txt="5\n",
        train_data__json=data[::2],
        val_data__json=data[1:2],
        test_data__json=[{"video": "5.3gp", "description": "rain"}],
    )
    touch(home, "v/1@N00_2.mp4", "v/3@N00_4.mp4", "v/5.3gp")
    dataset = datasets.load("didemo", home)
    assert captions_by_video(dataset.train) == {"v/1@N00_2.mp4": ("a cat. it sleeps.",)}
    assert captions_by_video(dataset.val) == {"v/3@N00_4.mp4": ("a dog",)}
    assert captions_by_video(dataset.test) == {"v/5.3gp": ("rain",)}
    assert {example.span for example in (*dataset.train, *dataset.test)} == {(0, 30)}
    write(home, val_data__json=[{"video": 3}])
    with pytest.raises(DataError, match=r'val_data.json: \[0\] is .*"video" and "description"'):
        datasets.load("didemo", home)


def test_activitynet_finds_videos_with_and_without_their_prefix(tmp_path):
    home = tmp_path / "ActivityNet"
    # The second id has the prefix in YouTube's part.
    first, second, third = "v_uqiMw7tQ1Cc", "v_v_345678901", "v_FsS_NCZEfaI"
    write(
        home,
        train_ids__json=[first, second],
        val_ids__json=[third, "v_00000000000"],
        train__json={
            clip: {"duration": 9.5, "sentences": ["A man. ", " He ", "runs."]}
            for clip in (first, second)
        },
        val_1__json={third: {"sentences": ["Snow."]}, "v_11111111111": {"sentences": ["?"]}},
    )
    touch(home, "a/uqiMw7tQ1Cc.mp4", "a/v_345678901.mkv", "b/v_FsS_NCZEfaI.mp4")
    dataset = datasets.load("activitynet", home)
    assert captions_by_video(dataset.train) == {
        "a/uqiMw7tQ1Cc.mp4": ("A man. He runs.",),
        "a/v_345678901.mkv": ("A man. He runs.",),
    }
    assert captions_by_video(dataset.test) == {"b/v_FsS_NCZEfaI.mp4": ("Snow.",)}
    assert [note.split(",")[0] for note in dataset.notes] == [
        "captions of videos that no list names: 1",
        "videos without a caption: 1",
    ]
    for content in ([], {"v": {"sentences": "a"}}, {"v": []}):
        write(home, val_1__json=content)
        with pytest.raises(DataError, match=r"val_1.json: .*sentences"):
            datasets.load("activitynet", home)
    write(home, train_ids__json={"a": 1})
    with pytest.raises(DataError, match="train_ids.json: must be a JSON list of ids"):
        datasets.load("activitynet", home)


OWN = """Path,caption,split,mood
a/1.mp4,a cat jumps,train,
a/1.mp4,"a cat, in the air",train,calm
a/2.mp4,a dog,train,
b,A Dog,test,
c/3.webm,a dog,test,
"""


def test_own_csv_joins_the_rows_of_a_video(tmp_path):
    write(tmp_path, list__csv=OWN)
    touch(tmp_path, "a/1.mp4", "a/2.mp4", "b/1.jpg")
    dataset = datasets.load("captions_csv", tmp_path)
    assert captions_by_video(dataset.train) == {
        "a/1.mp4": ("a cat jumps", "a cat, in the air"),
        "a/2.mp4": ("a dog",),
    }
    assert dataset.read.upright and dataset.split_source == "list.csv"
    other = datasets.load("captions_csv", tmp_path / "list.csv", ignore_rotation=True)
    assert not other.read.upright and other.test == dataset.test
    finding = check.check("captions_csv", tmp_path, quick=True)
    assert finding.problems == ("missing: c/3.webm",)
    note = "test: captions shared by several videos: 1, e.g. 'a dog' (b and c/3.webm)"
    assert finding.notes == (note,)


def test_an_own_csv_without_splits_is_divided_by_video(tmp_path):
    text = "".join(f"v/{n}.mp4,video {n} {part},x\n" for n in range(10) for part in "ab")
    write(tmp_path, list__csv="video,text,path\n" + text)
    columns = "path=video,caption=text"
    dataset = datasets.load("captions_csv", tmp_path / "list.csv", columns=columns)
    assert [len(part) for part in (dataset.train, dataset.val, dataset.test)] == [5, 2, 3]
    for one in (*dataset.train, *dataset.val, *dataset.test):
        number = one.image[2:-4]
        assert one.captions == (f"video {number} a", f"video {number} b")
    assert automatic.is_automatic(dataset)
    assert 'no column "split", so its videos are split by a hash' in dataset.notes[0]
    assert "5 train, 2 val, 3 test" in dataset.notes[0]
    (tmp_path / "split.csv").write_text(automatic.as_csv(dataset))
    again = datasets.load("captions_csv", tmp_path / "split.csv")
    assert captions_by_video(again.test) == {
        str(tmp_path / one.image): one.captions for one in dataset.test
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label,split\na,b,train\n", "lacks the columns caption; it has path, label, split"),
        ("path,caption,split\na, ,train\n", "line 2: caption is empty; fill it in"),
        ("path,caption,split\na,b,tain\n", "line 2: 'tain'. Did you mean 'train'"),
        ("path,caption,split\na,b,c,train\n", "line 2: 4 fields"),
    ],
)
def test_errors_in_an_own_csv_name_the_line(tmp_path, text, message):
    write(tmp_path, list__csv=text)
    with pytest.raises(DataError, match=message):
        datasets.load("captions_csv", tmp_path)


def test_a_video_in_training_and_test_is_a_problem(tmp_path):
    write(tmp_path, list__csv="path,caption,split\na.mp4,a cat,train\n./a.mp4,a dog,test\n")
    dataset = datasets.load("captions_csv", tmp_path)
    [remark] = lists.listed_twice(lists.splits(dataset))
    assert remark.stops
    assert remark.text == (
        "videos listed more than once: 1, e.g. a.mp4 (train, test); leave each in one list"
    )


def test_the_report_counts_captions_if_there_are_any(tmp_path):
    write(tmp_path, list__csv="path,caption,split\na.mp4,a cat,train\nb.mp4,a dog,test\n")
    touch(tmp_path, "a.mp4", "b.mp4")
    found = check.run(["captions_csv", "dtd"], tmp_path, "coop", quick=True)
    columns = findings.table(found, tmp_path).columns
    assert [column.header for column in columns][-3:] == ["classes", "captions", "state"]
    cells = [next(iter(column.cells)) for column in columns]
    assert cells == ["captions_csv", "1", "0", "1", "", "2", "[green]complete[/green]"]
    headers = [column.header for column in findings.table(found[1:], tmp_path).columns]
    assert headers[-2:] == ["classes", "state"]


def test_class_names_are_still_required_for_videos_with_classes(tmp_path, monkeypatch):
    unnamed = datasets.load("emoji_clips", test_per_class=1, train_per_class=0, val_per_class=0)
    unnamed = unnamed.test[0]._replace(name="")
    layout = SimpleNamespace(
        load=lambda name, root, template: datasets.Dataset(
            name, template, (), (), (unnamed, unnamed._replace(label=1)), print, kind="videos"
        )
    )
    monkeypatch.setitem(datasets.TABLE, "own", datasets.Entry("Own", "{}", layout))
    with pytest.raises(DataError, match="label 0 has an empty class name"):
        datasets.load("own")
