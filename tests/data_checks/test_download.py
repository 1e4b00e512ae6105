"""Data sets are downloaded from a fake hub: complete or not at all, and without unsafe files."""

import errno
import shutil
import subprocess
import sys

import fake_hub
import pytest
import tiny
from huggingface_hub import constants
from zips import zipped

from data_pipelines import check, datasets, download
from data_pipelines.catalog.entry import ARCHIVES
from data_pipelines.fetching import archives
from data_pipelines.fetching import hub as hub_files
from prompt_jax.cli.commands import explain


@pytest.fixture(scope="module")
def archived(tmp_path_factory):
    """Returns four classes of caltech101 as in its archive, with metadata files of macOS."""
    root = tiny.save_caltech101(tmp_path_factory.mktemp("made"), train=1, test=1)
    files = {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
    return files | {"__MACOSX/caltech-101/._x.jpg": b"litter", "caltech-101/.DS_Store": b"litter"}


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """Returns an empty hub for this process."""
    with fake_hub.running() as hub:
        known = constants
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(known, "ENDPOINT", hub.url)
        monkeypatch.setattr(known, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(known, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield hub


@pytest.fixture
def root(tmp_path):
    return tmp_path / "root"


def put(hub, files, name=ARCHIVES, archive="caltech-101.zip"):
    content = files if isinstance(files, bytes) else zipped(files)
    hub.put(name, {archive: content, "README.md": b"# Data"}, license="mit")
    return content


def get(*arguments):
    return explain(download.main, [str(argument) for argument in arguments])


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_downloaded_data_set_passes_the_check(hub, root, archived, capsys):
    put(hub, archived)
    code = get("caltech101", "--root", root)
    out = " ".join(capsys.readouterr().out.split())
    assert contents(root) == {
        n: c for n, c in archived.items() if "DS_Store" not in n and n[0] != "_"
    }
    dataset = datasets.load("caltech101", root)
    assert len(dataset.train) == len(dataset.test) == 4
    # Only four classes of the published data set exist, which `check` reports.
    assert code == 1 and "4 / 4128" in out
    assert "caltech-101.zip" in out and "according to its card: 'mit'" in out
    assert (
        "Fei-Fei et al., CVPR Workshop 2004" in out and "https://doi.org/10.22002/D1.20086" in out
    )
    assert check.check("caltech101", root, quick=True).found
    asked = list(hub.asked)
    assert get("caltech101", "--root", root) == 1
    assert hub.asked == asked and "exists already" in capsys.readouterr().out


def test_a_data_set_repository_works_too(hub, root, archived):
    put(hub, archived, "datasets/lab/copy", "Caltech_101.zip")
    get("caltech101", "--root", root, "--repository", "lab/copy")
    assert (root / "caltech-101" / tiny.SPLIT).exists()


def test_a_small_archive_is_verified_by_its_git_hash(hub, root, archived, monkeypatch):
    monkeypatch.setattr(fake_hub, "BIG", (".safetensors",))
    put(hub, archived)
    hub.changes = lambda content: content[:-1] + b"?"
    assert get("caltech101", "--root", root) == 2
    hub.changes = bytes
    get("caltech101", "--root", root)
    assert (root / "caltech-101" / tiny.SPLIT).exists()


@pytest.mark.parametrize("inside", ["", "data/deeper/"])
def test_the_directory_may_be_anywhere_in_the_archive(hub, root, archived, inside, capsys):
    files = {
        inside + name.removeprefix("caltech-101/"): content
        for name, content in archived.items()
        if name[0] != "_"
    }
    put(hub, files | {"elsewhere/notes.txt": b"x"})
    get("caltech101", "--root", root)
    assert (root / "caltech-101" / tiny.SPLIT).exists()
    left_out = "skipped 1 other files of the archive" in capsys.readouterr().out
    assert left_out == bool(inside) and (root / "caltech-101/elsewhere").exists() != left_out


def test_an_interrupted_download_resumes(hub, root, archived, capsys, monkeypatch):
    content = put(hub, archived)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    hub.breaks_after = 3000
    for _ in range(20):
        if (root / "caltech-101").exists():
            break
        get("caltech101", "--root", root)
    assert contents(root / "caltech-101")[tiny.SPLIT] == archived[f"caltech-101/{tiny.SPLIT}"]
    loads = [line for line in hub.asked if "/resolve/" in line]
    starts = [int(line.split(" from ")[1]) for line in loads if " from " in line]
    assert starts == sorted(set(starts)) and starts[-1] > len(content) - 3000
    assert len(starts) == len(loads) - 1  # nothing was downloaded twice
    assert not (root / ".downloads").exists()


def test_a_killed_process_leaves_nothing_partial_and_the_next_one_resumes(hub, root, archived):
    content = put(hub, archived)
    script = """
import os, sys
from data_pipelines import download; from data_pipelines.fetching import hub
from huggingface_hub import constants as known
known.ENDPOINT = sys.argv[1]
known.HUGGINGFACE_CO_URL_TEMPLATE = sys.argv[1] + "/{repo_id}/resolve/{revision}/{filename}"
place, dies = sys.argv[3], int(sys.argv[4])
count = 0
def die(*arguments, **options):
    global count
    count += 1
    if count > dies:
        os.kill(os.getpid(), 9)
    return real(*arguments, **options)
if place == "load":
    real, hub._Limited.write = hub._Limited.write, die
elif place == "unpack":
    real, os.open = os.open, die
else:
    real, os.sync = os.sync, die
    os.rename = die
download.main(["caltech101", "--root", sys.argv[2]])
"""
    for place, dies in (("load", 0), ("unpack", 3), ("sync", 0)):
        command = [sys.executable, "-c", script, hub.url, str(root), place, str(dies)]
        ended = subprocess.run(command, capture_output=True, cwd=tiny.REPOSITORY, timeout=120)
        assert ended.returncode == -9, ended.stderr.decode()
        assert not (root / "caltech-101").exists()
    get("caltech101", "--root", root)
    loaded = [line for line in hub.asked if "/resolve/" in line and line.startswith("GET")]
    assert len(loaded) <= 2 and len(content) > 0
    assert sorted(path.name for path in root.iterdir()) == ["caltech-101"]


def test_an_archive_damaged_in_transit_is_not_unpacked(hub, root, archived, capsys):
    put(hub, archived)
    hub.changes = lambda content: content[:-1] + b"?"
    assert get("caltech101", "--root", root) == 2
    assert "was damaged in transit and is removed: run again" in capsys.readouterr().err
    assert not (root / "caltech-101").exists()
    hub.changes = lambda content: content + b"more and more"
    assert get("caltech101", "--root", root) == 2
    assert not (root / "caltech-101").exists()
    hub.changes = bytes
    get("caltech101", "--root", root)
    assert (root / "caltech-101" / tiny.SPLIT).exists()


def test_a_full_disk_is_reported_before_any_download(hub, root, archived, capsys, monkeypatch):
    put(hub, archived)
    free = shutil.disk_usage(root.parent)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free)
    assert get("caltech101", "--root", root) == 2
    assert "has 0.0 GB free, and about 0.0 GB are needed" in capsys.readouterr().err
    assert not [line for line in hub.asked if "/resolve/" in line]
    assert not (root / "caltech-101").exists()


def test_a_disk_that_fills_up_is_reported_and_keeps_the_download(
    hub, root, archived, capsys, monkeypatch
):
    put(hub, archived)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    write, taken = hub_files._Limited.write, []

    def filling(file, content):
        taken.append(len(content))
        if len(taken) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, content)

    monkeypatch.setattr(hub_files._Limited, "write", filling)
    assert get("caltech101", "--root", root) == 2
    assert "No space left on device; free space, then run again" in capsys.readouterr().err
    (part,) = (path for path in (root / ".downloads").iterdir() if path.suffix == ".zip")
    assert part.stat().st_size == 2000
    # The same during unpacking.
    monkeypatch.undo()
    monkeypatch.setattr(archives, "_read", lambda *arguments: full_disk())
    with pytest.raises(OSError, match="No space"):
        install_from(zipped(archived), root)
    assert not (root / "caltech-101").exists() and not list(root.glob(".caltech*"))


def full_disk():
    yield b"x"
    raise OSError(errno.ENOSPC, "No space left on device")


def install_from(content, root):
    (root / "a.zip").write_bytes(content)
    download.install(root / "a.zip", "caltech101", root)


def test_a_failed_data_set_does_not_stop_the_others(hub, root, archived, capsys):
    files = {"caltech-101.zip": zipped(archived), "dtd.zip": b"no archive"}
    hub.put(ARCHIVES, files)
    assert get("dtd,caltech101", "--root", root) == 2
    captured = capsys.readouterr()
    assert "dtd: " in captured.err and "not a zip archive" in captured.err
    assert "according to its card: none" in " ".join(captured.out.split())
    assert (root / "caltech-101").exists() and not (root / "dtd").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["caltech"], "unknown data set 'caltech'. Did you mean 'caltech101'"),
        (["imagenet"], "imagenet is not in zhengli97/prompt_learning_dataset; download it from"),
        (["folder"], "folder is not in zhengli97/prompt_learning_dataset; it needs no download"),
        (["dtd"], "has 0 archives of it instead of one, named dtd.zip; it contains READ"),
        (["dtd", "--repository", "lab/none"], "lab/none cannot be read; as a model: Repository"),
        ([" , "], "no data set is named"),
    ],
)
def test_unavailable_data_sets_are_reported(hub, root, archived, arguments, message, capsys):
    put(hub, archived)
    assert get(*arguments, "--root", root) == 2
    assert message in capsys.readouterr().err
    assert not list(root.rglob("*.zip"))


def test_an_unreachable_hub_is_reported(hub, root, archived, capsys, monkeypatch):
    put(hub, archived)
    hub.down = True
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    assert get("caltech101", "--root", root) == 2
    message = capsys.readouterr().err
    assert "the Hugging Face repository" in message and "run the same command again" in message
    assert f"fetch caltech-101.zip from https://huggingface.co/{ARCHIVES} on" in message
    assert f"unpack them into {root / 'caltech-101'}" in message


def test_an_existing_directory_is_kept(hub, root, archived, capsys):
    put(hub, archived)
    (root / "caltech-101").mkdir(parents=True)
    get("caltech101", "--root", root)  # an empty directory does not count
    assert (root / "caltech-101" / tiny.SPLIT).exists()
    shutil.rmtree(root / "caltech-101")
    (root / "caltech-101").symlink_to(root / "nowhere")
    get("caltech101", "--root", root)
    assert "exists already" in capsys.readouterr().out and (root / "caltech-101").is_symlink()


def test_another_process_in_the_root_is_waited_for(hub, root, archived):
    put(hub, archived)
    with download._locked(root):
        script = (
            "import sys; from data_pipelines import download\n"
            "try: download.run(['caltech101'], __import__('pathlib').Path(sys.argv[1]))\n"
            "except Exception as error: print(error)"
        )
        command = [sys.executable, "-c", script, str(root)]
        ended = subprocess.run(command, capture_output=True, cwd=tiny.REPOSITORY, timeout=60)
    assert b"another download is running" in ended.stdout


def test_every_published_image_data_set_but_imagenet_has_an_archive():
    published = [
        name
        for name, entry in datasets.TABLE.items()
        if entry.counts and entry.kind == "images" and name != "imagenet"
    ]
    assert list(download.available()) == published and len(published) == 14
    names = {name: entry.archives[0] for name, entry in download.available().items()}
    files = {f"{each}.zip": download.Remote(f"{each}.zip", 1, "ab") for each in names.values()}
    repository = download.Repository(ARCHIVES, "model", "0", "mit", files)
    assert {name: one.name for name, one in download.match(published, repository).items()} == {
        name: f"{each}.zip" for name, each in names.items()
    }


def test_check_tells_how_to_get_missing_data(tmp_path):
    for name in ("sun397", "stanford_cars"):
        (problem,) = check.check(name, tmp_path / "a b").problems
        assert problem.startswith(
            f"download it with: python -m data_pipelines.download {name} "
            f"--root '{tmp_path}/a b' (its page"
        )
        assert "https://huggingface.co/zhengli97/prompt_learning_dataset" in problem
    assert "image-net.org" in check.check("imagenet", tmp_path).problems[0]
