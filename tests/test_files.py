"""Files that are written whole or not at all, and JSON that is read strictly."""

import os
import resource

import pytest

from prompt_jax import files


def test_a_file_reaches_the_disk_before_it_takes_the_other_s_place(tmp_path, monkeypatch):
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


def test_a_disk_that_is_full_leaves_the_old_file_and_names_it(tmp_path):
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


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1, "a": 2}', "'a' stands in it twice"),
        ('{"a": NaN}', "NaN is no number of JSON"),
        ("[" * 10**5, "its brackets are too deep"),
        (r'{"a": "\ud800"}', "surrogates not allowed"),
        ("{", "Expecting property name"),
        ("9" * 5000, "4300"),
    ],
)
def test_json_that_python_reads_and_we_do_not(text, words):
    with pytest.raises(ValueError, match=words):
        files.parse_json(text)


def test_what_was_changed_after_it_was_sealed_is_told(tmp_path):
    sealed = files.seal({"accuracy": {"base": 71.25}})
    files.check_seal(sealed)
    files.check_seal({"accuracy": {"base": 71.25}})  # from before there was a digest
    with pytest.raises(ValueError, match="is not what was written"):
        files.check_seal(sealed | {"accuracy": {"base": 75.25}})
    with pytest.raises(ValueError, match="is not what was written"):
        files.check_seal(sealed | {"more": 1})
