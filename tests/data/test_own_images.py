"""A user's own images: class directories and CSV files."""

import os
import pickle

import pytest
from PIL import Image

from data_pipelines import datasets
from data_pipelines.errors import DataError
from data_pipelines.images import readers
from data_pipelines.layouts import automatic


def write_images(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path, "PNG")


@pytest.fixture
def root(tmp_path):
    """Returns three classes, one of them only in test, with other files among the images."""
    write_images(tmp_path / "train", "red_apple/a.JPG", "red_apple/b, c.png", "pear/1.webp")
    write_images(tmp_path / "test", "red_apple/z.tiff", "quince/q.bmp", "pear/sub/2.jpg")
    write_images(tmp_path / "test", "pear/.hidden.jpg", "pear/.cache/3.jpg")
    (tmp_path / "test/pear/notes.txt").write_text("")
    (tmp_path / "test/.DS_Store").write_text("")
    return tmp_path


def listed(examples):
    return [example.image for example in examples]


def test_directories_are_classes(root):
    dataset = datasets.load("folder", root)
    assert dataset.class_names == ("pear", "quince", "red apple")
    assert listed(dataset.train) == [
        "train/pear/1.webp",
        "train/red_apple/a.JPG",
        "train/red_apple/b, c.png",
    ]
    assert listed(dataset.test) == [
        "test/pear/sub/2.jpg",
        "test/quince/q.bmp",
        "test/red_apple/z.tiff",
    ]
    assert dataset.val == () and dataset.template == "a photo of a {}."
    assert dataset.split_source == "folders train, test"
    assert datasets.load("folder", root, template="my {}").template == "my {}"
    readers.check_files(dataset, (*dataset.train, *dataset.test))
    copy = pickle.loads(pickle.dumps(dataset))
    assert copy == dataset and copy.read(copy.test[0]).size == (8, 8)


def test_domains_are_directories_below_the_root(root, tmp_path_factory):
    base = tmp_path_factory.mktemp("base")
    (base / "dslr").symlink_to(root)
    write_images(base, "webcam/test/pear/1.jpg")
    assert datasets.load("folder:dslr", base).train == datasets.load("folder", root).train
    assert datasets.load("folder", base, domain="webcam").class_names == ("pear",)
    with pytest.raises(DataError, match="domain of .*'dsl'. Did you mean 'dslr'.*: dslr, webcam"):
        datasets.load("folder:dsl", base)
    with pytest.raises(DataError, match=r"unknown domain of .*'\.\.'"):
        datasets.load("folder:..", base / "dslr")
    with pytest.raises(DataError, match="choose one of its domains: folder:dslr, folder:webcam"):
        datasets.load("folder", base)


def test_cyclic_links_are_followed_once(root):
    (root / "train/pear/linked.jpg").symlink_to(root / "test/quince/q.bmp")
    (root / "train/quince").symlink_to(root / "test/quince")
    (root / "train/pear/round").symlink_to(root / "train")
    (root / "train/pear/gone.jpg").symlink_to(root / "nowhere")
    dataset = datasets.load("folder", root)
    names = listed(dataset.train)
    assert "train/quince/q.bmp" in names and names.count("train/pear/linked.jpg") == 1
    with pytest.raises(DataError, match="1 of .* images are missing.*\n  train/pear/gone.jpg"):
        readers.check_files(dataset, [e for e in dataset.train if "round" not in e.image])


def test_invalid_directories_are_rejected(root, tmp_path_factory):
    empty = tmp_path_factory.mktemp("empty")
    with pytest.raises(DataError, match="root is not set\nExpected layout"):
        datasets.load("folder")
    with pytest.raises(DataError, match="no directory train or test in .*\nExpected layout"):
        datasets.load("folder", empty)
    with pytest.raises(DataError, match="nowhere is not a directory"):
        datasets.load("folder", empty / "nowhere")
    (empty / "train").mkdir()
    with pytest.raises(DataError, match="no classes in"):
        datasets.load("folder", empty)
    (empty / "train/plum").mkdir()
    with pytest.raises(DataError, match="no classes in .* but empty ones, plum\nExpected"):
        datasets.load("folder", empty)
    (root / "train/plum").mkdir()
    (root / "train/plum/1.heics").touch()
    with pytest.raises(DataError, match="directory 'plum' .* contains no images.*leave_out=plum"):
        datasets.load("folder", root)
    write_images(root, "train/plum/1.jpg", "train/loose.jpg")
    with pytest.raises(DataError, match="1 images are directly in .*train, e.g. loose.jpg; move"):
        datasets.load("folder", root)


def test_empty_class_directories_are_left_out_with_a_note(root):
    before = datasets.load("folder", root)
    (root / "train/lemon").mkdir()
    (root / "test/plum").mkdir()
    dataset = datasets.load("folder", root)
    assert (dataset.class_names, dataset.test) == (before.class_names, before.test)
    assert dataset.notes[-1].endswith("empty class directories, which are left out: lemon, plum")


@pytest.mark.parametrize("asked", ["red_apple", "red apple", " red apple , "])
def test_classes_are_left_out_as_asked(root, asked):
    dataset = datasets.load("folder", root, leave_out=asked)
    assert dataset.class_names == ("pear", "quince")
    assert {one.label for one in dataset.test} == {0, 1}
    assert any(note.endswith("left out as asked (leave_out): red_apple") for note in dataset.notes)
    with pytest.raises(DataError, match="class of folder in leave_out: 'peer'. Did you mean 'pear"):
        datasets.load("folder", root, leave_out="peer")
    with pytest.raises(DataError, match="leaves no class"):
        datasets.load("folder", root, leave_out="pear,quince,red_apple")


def test_class_names_of_directories_come_from_a_file(root, tmp_path_factory):
    names = tmp_path_factory.mktemp("names") / "names.csv"
    names.write_text('name,directory\n"an apple, red",red_apple\nAbate,pear\n')
    dataset = datasets.load("folder", root, class_names=str(names))
    assert dataset.class_names == ("Abate", "quince", "an apple, red")
    assert "folder: names.csv does not list quince" in "".join(dataset.notes)
    for text, message in (
        ("directory,name\npeer,x\n", "directory in .*, line 2: 'peer'. Did you mean 'pear'"),
        ("directory,name\npear,x\npear,y\n", "line 3: 'pear' is listed twice"),
        ("directory\npear\n", "lacks the columns name"),
    ):
        names.write_text(text)
        with pytest.raises(DataError, match=message):
            datasets.load("folder", root, class_names=str(names))
    with pytest.raises(DataError, match="cannot read"):
        datasets.load("folder", root, class_names=str(root / "none.csv"))


def test_an_automatic_split_with_other_names_can_be_read_again(tmp_path):
    write_images(tmp_path, *(f"{name}/{n}.png" for name in ("b_b", "a") for n in range(4)))
    (tmp_path / "names.csv").write_text("directory,name\na,zebra\nb_b,ant\n")
    dataset = datasets.load("folder", tmp_path, class_names=str(tmp_path / "names.csv"))
    (tmp_path / "split.csv").write_text(automatic.as_csv(dataset))
    again = datasets.load("csv", tmp_path / "split.csv")
    assert again.class_names == dataset.class_names == ("zebra", "ant")
    assert [one.label for one in again.test] == [one.label for one in dataset.test]


def test_names_that_are_equal_after_cleaning_are_rejected(root):
    write_images(root, "train/red apple/1.jpg")
    with pytest.raises(
        DataError, match="labels 2 and 3, 'red apple' and 'red apple', make the same prompt"
    ):
        datasets.load("folder", root)


@pytest.mark.parametrize("place", ["train/pear/caf\udce9.jpg", "train/caf\udce9/1.jpg"])
def test_names_that_are_not_utf8_are_rejected(root, place):
    path = root / place
    try:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    except OSError:
        pytest.skip("this file system keeps only names that are UTF-8")
    with pytest.raises(DataError, match=r"the name b'caf\\xe9.*' is not valid UTF-8.*rename") as e:
        datasets.load("folder", root)
    assert str(e.value).encode("utf-8")


def test_the_real_domains_of_office_caltech(shared):
    base = shared / "data/office-caltech10"
    if not base.is_dir():
        pytest.skip(f"no folder {base}")
    names = {datasets.load(f"folder:{d.name}", base).class_names for d in base.iterdir()}
    assert len(names) == 1 and len(names.pop()) == 10


CSV = """split,path,note,domain,label
train,train/red_apple/a.JPG,x,garden,red_apple
train,"train/red_apple/b, c.png",,shop,"red_apple"
test,{root}/test/quince/q.bmp,y,garden,"quince, ripe"

val,train/pear/1.webp,,garden,pear
"""


@pytest.fixture
def table(root):
    """Returns a CSV file beside the images."""
    path = root / "mine.csv"
    path.write_text(CSV.format(root=root), encoding="utf-8-sig")
    return path


def test_a_csv_file_lists_path_class_and_split(table):
    dataset = datasets.load("csv", table)
    assert dataset.class_names == ("pear", "quince, ripe", "red apple")
    assert [len(s) for s in (dataset.train, dataset.val, dataset.test)] == [2, 1, 1]
    assert dataset.train[1].image == "train/red_apple/b, c.png"
    for example in (*dataset.train, *dataset.val, *dataset.test):
        assert dataset.read(example).size == (8, 8)
    assert dataset.split_source == "mine.csv"
    by_folder = datasets.load("csv", table.parent)
    assert by_folder == dataset == pickle.loads(pickle.dumps(dataset))


def test_a_domain_in_a_csv_file(table):
    dataset = datasets.load("csv:garden", table)
    assert [len(s) for s in (dataset.train, dataset.val, dataset.test)] == [1, 1, 1]
    assert (dataset.name, dataset.split_source) == ("csv:garden", "mine.csv, domain garden")
    with pytest.raises(DataError, match="unknown domain of .*'gardn'. Did you mean 'garden'.*shop"):
        datasets.load("csv:gardn", table)
    table.write_text("path,label,split\na.jpg,x,test\n")
    with pytest.raises(DataError, match="domain 'shop' needs a column"):
        datasets.load("csv:shop", table)


def test_columns_and_classes_of_a_csv_file_are_chosen(table):
    table.write_text("file,class,split,path\na.jpg,x,test,-\nb.jpg,y,train,-\nc.jpg,z,test,-\n")
    dataset = datasets.load("csv", table, columns="path=file, label=Class", leave_out="y")
    assert dataset.class_names == ("x", "z") and listed(dataset.test) == ["a.jpg", "c.jpg"]
    assert dataset.notes == ("mine.csv: left out as asked (leave_out): y",)
    with pytest.raises(DataError, match="unknown column of .*: 'clas'. Did you mean 'class'"):
        datasets.load("csv", table, columns="path=file,label=clas")
    with pytest.raises(DataError, match="'file' is not NAME=COLUMN"):
        datasets.load("csv", table, columns="file")
    table.write_text("path,label,name,split\na.jpg,0,x,test\n")
    with pytest.raises(DataError, match="leave_out='x': labels are numbers"):
        datasets.load("csv", table, leave_out="x")


def test_numbered_labels_need_a_column_of_names(table):
    table.write_text("path,label,name,split\na.jpg,1,x_y,test\nb.jpg,0,a,train\n")
    dataset = datasets.load("csv", table)
    assert dataset.class_names == ("a", "x y") and dataset.test[0].label == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\na.jpg,x\n", "lacks the columns split; it has path, label"),
        ("path;label;split\na.jpg;x;test\n", "separated by commas"),
        ("", "it has nothing"),
        ("path,label,split,path\n", "names path more than once"),
        ("path,label,split\na.jpg,x\n", "line 2: 2 fields, but the first line names 3"),
        ("path,label,split\na,b.jpg,x,test\n", "line 2: 4 fields.*quotation marks"),
        ("path,label,split\n\n,x,test\n", "line 3: path is empty"),
        ("path,label,split\na.jpg, ,test\n", "line 2: label is empty"),
        ("path,label,split\na.jpg,x,tset\n", "split in .*line 2: 'tset'. Did you mean 'test'"),
        ('path,label,split\n"a.jpg,x,test\n', "not valid CSV"),
        ("path,label,split\n", "no examples"),
        ("path,label,split,name\na.jpg,1.0,test,x\n", "label is '1.0'; .* whole number"),
        ("path,label,split,name\na.jpg,-1,test,x\n", "label is '-1'"),
        ("path,label,split,name\na.jpg,0,test,x\nb.jpg,2,test,y\n", "1 are missing"),
        ("path,label,split,name\na.jpg,0,test,x\nb.jpg,0,test,y\n", "called both 'x' and 'y'"),
        (
            "path,label,split,name\na.jpg,0,test,x\nb.jpg,1,test,x\n",
            "'x' and 'x', make the same",
        ),
        (
            "path,label,split\na.jpg,a_b,test\nb.jpg,a b,test\n",
            "'a b' and 'a b', make the same",
        ),
        (b"path,label,split\ncaf\xe9.jpg,x,test\n", "not UTF-8.*save it as UTF-8"),
    ],
)
def test_malformed_csv_files_are_rejected(table, text, message):
    table.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=message):
        datasets.load("csv", table)


def test_an_ambiguous_csv_file_is_rejected(table):
    with pytest.raises(DataError, match="root is not set\nExpected: root is a CSV file"):
        datasets.load("csv")
    with pytest.raises(DataError, match="no such file or directory: .*other.csv"):
        datasets.load("csv", table.parent / "other.csv")
    os.link(table, table.parent / "second.csv")
    with pytest.raises(DataError, match="exactly one .*found mine.csv, second.csv; set root"):
        datasets.load("csv", table.parent)
    table.write_text("path,label,split\nnowhere.jpg,x,test\n")
    dataset = datasets.load("csv", table)
    with pytest.raises(DataError, match="1 of 1 images are missing"):
        readers.check_files(dataset, dataset.test)


def test_files_excluded_by_their_suffix_are_counted(root):
    for name in ("a.psd", "b.PSD", "c.avif", "sub/README"):
        path = root / "train/pear" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    *_, train, test = datasets.load("folder", root).notes
    assert "train: skipped, not an image suffix: 2 .psd, 1 .avif, 1 no suffix" in train
    assert "test: skipped, not an image suffix: 1 .txt" in test


def test_a_named_pipe_is_listed_and_rejected_without_being_opened(root):
    os.mkfifo(root / "train/pear/pipe.jpg")
    dataset = datasets.load("folder", root)
    bad = readers.find_bad(dataset, dataset.train)
    assert [(path.split("/")[-1], reason) for path, reason in bad] == [
        ("pipe.jpg", "a named pipe, not an image file")
    ]


@pytest.mark.parametrize("source", ["folder", "csv"])
def test_images_are_upright_by_default(root, source):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (60, 40)).save(root / "train/pear/0.jpg", exif=exif)
    if source == "csv":
        (root / "list.csv").write_text("path,label,split\ntrain/pear/0.jpg,pear,train\n")
    for ignored, size in ((False, (40, 60)), (True, (60, 40))):
        dataset = datasets.load(source, root, ignore_rotation=ignored)
        assert dataset.read(dataset.train[0]).size == size
