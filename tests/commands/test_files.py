"""Files are written atomically, and JSON is read strictly."""

import os
import resource

import pytest

from prompt_jax.storage import files


def test_a_file_is_synced_before_it_replaces_another(tmp_path, monkeypatch):
    done = []
    sync, replace = os.fsync, type(tmp_path).replace

    def synced(opened):
        done.append(os.path.basename(os.readlink(f"/proc/self/fd/{opened}")))
        sync(opened)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(
        type(tmp_path), "replace", lambda path, to: (done.append("replace"), replace(path, to))
    )
    (tmp_path / "run.json").write_text("old")
    files.write_text(tmp_path / "run.json", "new")
    assert (tmp_path / "run.json").read_text() == "new"
    assert done == ["run.json.unfinished", "replace", tmp_path.name]


def test_a_full_disk_leaves_the_old_file_and_names_it(tmp_path):
    path = tmp_path / "results.json"
    path.write_text("old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(OSError, match=f"File too large: '{path}'"):
            files.write_text(path, "x" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [file.name for file in tmp_path.iterdir()] == ["results.json"]
    assert path.read_text() == "old"


def test_several_files_are_replaced_together_or_not_at_all(tmp_path, monkeypatch):
    names = ("a", "b", "c")
    for name in names:
        (tmp_path / name).write_text("old")
    wrote = files._write_new
    for error in (OSError(28, "No space left on device"), KeyboardInterrupt()):

        def fail(path, content, error=error):
            if path.name.startswith("b"):
                raise error
            wrote(path, content)

        monkeypatch.setattr(files, "_write_new", fail)
        with pytest.raises(type(error)):
            files.write_files({tmp_path / name: b"new" for name in names})
        assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(
            names, "old"
        )


def test_links_and_special_files_at_the_temporary_path_are_not_followed(tmp_path):
    (tmp_path / "other").write_text("mine")
    (tmp_path / "a.unfinished").symlink_to(tmp_path / "other")
    os.mkfifo(tmp_path / "b.unfinished")
    files.write_files({tmp_path / "a": b"new", tmp_path / "b": b"new"})
    assert (tmp_path / "other").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "other"]
    assert not (tmp_path / "a").is_symlink()


@pytest.mark.parametrize("there", [True, False])
def test_a_directory_is_filled_or_left_unchanged(tmp_path, there):
    folder = tmp_path / "deep" / "model"
    if there:
        folder.mkdir(parents=True)
    for _ in range(2):  # files of a killed first attempt, which the second removes
        with pytest.raises(KeyboardInterrupt), files.filling(folder) as aside:
            (aside / "b").write_text("2")
            raise KeyboardInterrupt
        assert folder.exists() == there and not (there and any(folder.iterdir()))
        left = (folder / ".unfinished") if there else (folder.parent / ".model.unfinished")
        left.mkdir()
        (left / "b").write_text("left")
    with files.filling(folder) as aside:
        (aside / "a").write_text("1")
    assert [path.name for path in folder.iterdir()] == ["a"]
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1, "a": 2}', "key 'a' occurs twice"),
        ('{"a": NaN}', "NaN is not valid JSON"),
        ("[" * 10**5, "its brackets are nested too deeply"),
        (r'{"a": "\ud800"}', "surrogates not allowed"),
        ("{", "Expecting property name"),
        ("9" * 5000, "4300"),
    ],
)
def test_json_that_python_accepts_is_rejected(text, words):
    with pytest.raises(ValueError, match=words):
        files.parse_json(text)


def test_changes_after_sealing_are_detected(tmp_path):
    sealed = files.seal({"accuracy": {"base": 71.25}})
    files.check_seal(sealed)
    files.check_seal({"accuracy": {"base": 71.25}})  # of versions without a digest
    with pytest.raises(ValueError, match="does not match its digest"):
        files.check_seal(sealed | {"accuracy": {"base": 75.25}})
    with pytest.raises(ValueError, match="does not match its digest"):
        files.check_seal(sealed | {"more": 1})
