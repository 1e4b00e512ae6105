"""Compiled programs that are kept: damaged ones are made anew, a refusing folder is said once."""

import errno
import sys
import zlib

import jax
import pytest
import tiny
from jax._src import compilation_cache
from jax.experimental.compilation_cache import compilation_cache as public

from prompt_jax.training import compiled

PROGRAM = zlib.compress(b"compiled" * 100)


class Cache:
    """JAX's, with errors to order."""

    def __init__(self, folder, failing=()):
        self.folder, self.failing, self._path = folder, failing, folder

    def get(self, key):
        if "get" in self.failing:
            raise PermissionError(errno.EACCES, "Permission denied")
        path = self.folder / f"{key}-cache"
        return path.read_bytes() if path.exists() else None

    def put(self, key, program):
        if "put" in self.failing:
            (self.folder / f"{key}-cache").write_bytes(program[:10])
            raise OSError(errno.ENOSPC, "No space left on device")
        (self.folder / f"{key}-cache").write_bytes(program)


def programs(folder, failing=()):
    return compiled.Programs(Cache(folder, failing), str(folder), zlib.decompress)


def test_a_whole_program_is_kept(tmp_path, capsys):
    kept = programs(tmp_path)
    assert kept.get("step") is None
    kept.put("step", PROGRAM)
    assert programs(tmp_path).get("step") == PROGRAM
    assert kept._path == tmp_path and capsys.readouterr().err == ""


@pytest.mark.parametrize("length", [0, 1, len(PROGRAM) // 2, len(PROGRAM) - 1])
def test_a_damaged_program_is_removed_and_written_anew(tmp_path, capsys, length):
    kept = programs(tmp_path)
    for key in ("step", "other"):
        (tmp_path / f"{key}-cache").write_bytes(PROGRAM[:length])
        assert kept.get(key) is None and not (tmp_path / f"{key}-cache").exists()
        kept.put(key, PROGRAM)
        assert programs(tmp_path).get(key) == PROGRAM
    assert (
        capsys.readouterr().err == f"note: a damaged compiled program in {tmp_path} is made anew\n"
    )


@pytest.mark.parametrize("failing", ["get", "put"])
def test_a_folder_that_refuses_is_said_once_and_left_whole(tmp_path, capsys, failing):
    kept = programs(tmp_path, failing)
    for key in ("step", "other"):
        assert kept.get(key) is None
        if failing == "put":
            kept.put(key, PROGRAM)
    printed = capsys.readouterr().err
    assert printed.startswith("note: compiled programs") and printed.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_jax_itself_compiles_a_truncated_program_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(compilation_cache, "get_file_cache", compilation_cache.get_file_cache)

    def run():
        compiled.keep()
        public.reset_cache()
        jax.clear_caches()
        assert jax.jit(lambda x: 2 * x + 1)(3) == 7
        return capsys.readouterr().err, {path: path.read_bytes() for path in tmp_path.iterdir()}

    with tiny.compiled_once(tmp_path):
        said, whole = run()
        assert said == "" and whole
        for path, program in whole.items():
            path.write_bytes(program[: len(program) // 2])
        said, again = run()
        assert said.endswith("is made anew\n") and said.count("\n") == 1
        assert {path: len(program) for path, program in again.items()} == {
            path: pytest.approx(len(program), rel=0.01) for path, program in whole.items()
        }
        assert run() == ("", again)


def test_a_folder_that_cannot_be_made_is_said_and_none_is_used(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(jax.config, "update", None)
    compiled.keep()
    printed = capsys.readouterr().err
    assert printed.startswith("note: compiled programs are not kept: ") and printed.count("\n") == 1


def test_a_jax_of_another_make_keeps_its_cache_as_it_is(monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "set")
    monkeypatch.delattr(compilation_cache, "get_file_cache")
    compiled.keep()
    monkeypatch.setitem(sys.modules, "jax._src", None)
    compiled.keep()
