"""Untrusted models on the hub load no local path and download no large or other file."""

# ruff: noqa: F811 (fixtures are known by their names)

import dataclasses

import pytest
import tiny
from test_sharing import NAME, clip, hub, public, run  # noqa: F401

import prompt_jax as pj
from prompt_jax import share
from prompt_jax.cli import commands
from prompt_jax.errors import PromptError
from prompt_jax.models import saved, sharing

# For huggingface_hub, which uploads large files by it.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=")

PATHS = ("/etc/passwd", "~/clip", "../clip", "a/b/c", "clip.pt", "C:\\x")


@pytest.mark.parametrize("backbone", PATHS)
def test_an_untrusted_model_loads_no_local_path(hub, clip, run, tmp_path, backbone):
    (tmp_path / "theirs").mkdir()
    saved.write(tmp_path / "theirs", dataclasses.replace(saved.read(run), backbone=backbone))
    hub.put(NAME, {path.name: path.read_bytes() for path in (tmp_path / "theirs").iterdir()})
    with pytest.raises(PromptError, match="a local path of another machine; pass the same"):
        pj.load(f"hf:{NAME}")
    assert pj.load(f"hf:{NAME}", backbone=clip).class_names == tiny.CLASSES


def test_too_large_files_are_not_downloaded(hub, public, monkeypatch):
    sharing.share(public, NAME)
    monkeypatch.setitem(sharing._MOST_BYTES, saved.PROMPTS, 100)
    with pytest.raises(PromptError, match=r"its prompts.safetensors has [\d,]+ bytes; at most 100"):
        sharing.download(NAME)
    assert not any(line.startswith("GET") and "resolve" in line for line in hub.asked)


def test_only_the_model_s_files_are_downloaded(hub, public):
    sharing.share(public, NAME)
    more = {"model.py": b"x", "a/model.json": b"{}", "../model.json": b"{}", "prompts.bin": b"x"}
    hub.repositories[NAME].commit(more)
    there = sharing.download(NAME)
    found = {path.relative_to(there).as_posix() for path in there.rglob("*") if path.is_file()}
    assert found == {saved.MODEL, saved.PROMPTS}


@pytest.mark.parametrize("revision", ["../main", "a/../../b", "-x", "a b", "\x1b[2J", "é"])
def test_a_revision_is_not_a_path(hub, revision):
    with pytest.raises(PromptError, match="after @, write a branch, a tag"):
        sharing.download(f"{NAME}@{revision}")


def test_leftovers_of_a_full_disk_do_not_matter(run, tmp_path, monkeypatch, capsys):
    words = [str(run), NAME, "--dry-run", str(tmp_path / "dry"), "--backbone-id=embedded"]
    monkeypatch.setattr(sharing, "_refuse_other_backbone", lambda *_: None)
    (tmp_path / "dry").mkdir()
    (tmp_path / "dry/prompts.safetensors.unfinished").write_text("left by an earlier version")
    assert commands.explain(share.start, words) in (0, None)
    found = sorted(path.name for path in (tmp_path / "dry").iterdir())
    assert found == sorted(sharing.FILES)
