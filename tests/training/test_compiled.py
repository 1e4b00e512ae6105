"""Cached programs: damaged ones are compiled again, and an unusable directory is reported."""

import resource
import warnings

import jax
import numpy as np
import pytest
import tiny
from jax.experimental.compilation_cache import compilation_cache

import prompt_jax as pj
from prompt_jax.training import compiled


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs a program in a new process; returns stderr and the cached files."""
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))

    def double(x):
        return 2 * x + 1

    def run(*shapes):
        with warnings.catch_warnings():
            compiled.keep()
            compilation_cache.reset_cache()
            jax.clear_caches()
            for shape in shapes or ((2,),):
                assert jax.jit(double)(jax.numpy.full(shape, 3)).sum() == 7 * shape[0]
        return capsys.readouterr().err, {
            path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()
        }

    with tiny.compiled_once(tmp_path):
        yield run


def sizes(files):
    # Compressed programs differ by some bytes.
    return {name: pytest.approx(len(content), rel=0.02) for name, content in files.items()}


def test_complete_programs_are_cached(run):
    output, whole = run()
    assert output == "" and whole
    assert run() == ("", whole)


@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.999])
def test_truncated_programs_are_compiled_and_written_again(run, tmp_path, kept):
    _, whole = run((2,), (3,))
    assert len(whole) > 1
    for name, program in whole.items():
        (tmp_path / name).write_bytes(program[: int(kept * len(program))])
    output, again = run((2,), (3,))
    assert output.startswith(f"note: a compiled program in {tmp_path} is compiled again: ")
    assert output.count("\n") == 1
    assert {name: len(content) for name, content in again.items()} == sizes(whole)
    assert run((2,), (3,)) == ("", again)


def test_an_unreadable_program_is_compiled(run, tmp_path):
    _, whole = run()
    for name in whole:
        (tmp_path / name).unlink()
        (tmp_path / name).mkdir()
    output, _ = run()
    assert output.startswith("note: a compiled program") and output.count("\n") == 1


def test_an_unwritable_program_is_reported_and_no_part_of_it_is_left(run):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, before[1]))
    try:
        output, left = run((2,), (3,))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "is not cached: " in output and "File too large" in output and output.count("\n") == 1
    assert not left


def test_a_second_training_of_a_notebook_compiles_no_step_again(tmp_path):
    """As in cells that run one after the other: `fit` jits anew, and finds the step on disk."""
    clip = pj.load(tiny.save_clip(tmp_path / "clip"))
    images = np.zeros((4, 32, 32, 3), np.uint8)

    def fit():
        pj.fit("coop", clip, images, [0, 1, 0, 1], ["ant", "bee"], epochs=1)
        return {path.name for path in (tmp_path / "kept").iterdir() if "-cache" in path.name}

    with tiny.compiled_once(tmp_path / "kept"):
        first = fit()
        assert any(name.startswith("jit_step-") for name in first)
        assert fit() == first


def test_other_warnings_are_shown_as_before(monkeypatch):
    shown = []
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "set")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        monkeypatch.setattr(warnings, "showwarning", lambda message, *_: shown.append(str(message)))
        compiled.keep()
        warnings.warn("another", stacklevel=1)
    assert shown == ["another"]


def test_a_directory_that_cannot_be_created_is_reported_and_not_used(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(compiled, "_has_folder", lambda: False)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(jax.config, "update", None)
    compiled.keep()
    printed = capsys.readouterr().err
    assert (
        printed.startswith("note: compiled programs are not cached: ") and printed.count("\n") == 1
    )
