"""Indexes of images and videos: what is encoded, kept, found and written for other programs."""

import dataclasses
import os
import pathlib
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import tiny
from PIL import Image
from video_files import write_folder

import prompt_jax as pj
from prompt_jax.errors import PromptError
from prompt_jax.indexing import building, entries
from prompt_jax.storage import files


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return pj.load(tiny.save_clip(tmp_path_factory.mktemp("clip")))


def save_image(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 48, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "files"
    for number, name in enumerate(("a.png", "b.png", "more/c.png")):
        save_image(root / name, number)
    frames = [Image.new("RGB", (40, 30), color) for color in ("red", "blue", "green")]
    frames[0].save(root / "moving.gif", save_all=True, append_images=frames[1:])
    (root / "broken.jpg").write_bytes(b"\xff\xd8 nothing")
    (root / "notes.txt").write_text("no image")
    return root


def names(index):
    return [os.path.basename(entry.path) for entry in index.readable]


def count_encoded(model, monkeypatch):
    """Counts the files that are encoded from now on."""
    counted = []
    encode = type(model).encode_images

    def counting(self, some, *rest):
        counted.extend([some] if isinstance(some, os.PathLike) else some)
        return encode(self, some, *rest)

    monkeypatch.setattr(type(model), "encode_images", counting)
    return counted


def test_images_and_videos_are_found_by_text_and_by_example(model, folder):
    index = model.index(folder)
    assert names(index) == ["a.png", "b.png", ["more", "c.png"][1], "moving.gif"]
    assert [entry.kind for entry in index.readable] == ["image", "image", "image", "video"]
    assert list(map(os.path.basename, index.errors)) == ["broken.jpg"]
    assert list(map(os.path.basename, index.left_out)) == ["notes.txt"]
    assert repr(index) == "Index(4 files, 1 could not be read)" and len(index) == 4

    images = [folder / "a.png", folder / "b.png", folder / "more/c.png"]
    expected = model.encode_images(images)
    np.testing.assert_allclose(index.features()[:3], expected, atol=1e-5)
    frames = dataclasses.replace(model.inputs, frames=8, frame_rule="even")
    video = dataclasses.replace(model, inputs=frames, _tasks={})
    np.testing.assert_allclose(
        index.features()[3:], video.encode_images([folder / "moving.gif"]), atol=1e-5
    )

    hits = model.search("a sea horse", index, top_k=3)
    cosines = index.features() @ model.encode_texts("a sea horse")[0]
    best = np.argsort(-cosines)[:3]
    assert [hit.path for hit in hits] == [index.readable[row].path for row in best]
    np.testing.assert_allclose([hit.similarity for hit in hits], cosines[best], atol=1e-6)
    assert [hit.rank for hit in hits] == [1, 2, 3]
    [first, *_] = model.search(folder / "b.png", index)
    assert first.path == str(folder / "b.png") and first.similarity == pytest.approx(1, abs=1e-5)
    assert str(first) == f"  1  1.000  {folder / 'b.png'}"


def test_a_kept_index_encodes_only_what_is_new_or_changed(model, folder, tmp_path, monkeypatch):
    place = tmp_path / "index"
    first = model.index(folder, place)
    assert (first.encoded, first.removed) == (4, 0)
    counted = count_encoded(model, monkeypatch)
    again = model.index(folder, place)
    assert counted == [str(folder / "broken.jpg")]  # is tried again
    assert again.entries == first.entries and again.encoded == 0
    np.testing.assert_array_equal(again.rows, first.rows)

    counted.clear()
    (folder / "broken.jpg").unlink()
    (folder / "a.png").rename(folder / "moved.png")
    shutil.copy(folder / "b.png", folder / "copy.png")
    before = (folder / "more/c.png").stat()
    save_image(folder / "more/c.png", 7)
    os.utime(folder / "more/c.png", ns=(before.st_atime_ns, before.st_mtime_ns))
    save_image(folder / "new.png", 8)
    changed = model.index(folder, place)
    assert sorted(counted) == [str(folder / "more/c.png"), str(folder / "new.png")]
    assert (changed.encoded, changed.removed) == (2, 2)  # broken.jpg, a.png
    assert sorted(names(changed)) == sorted(
        ["b.png", "c.png", "copy.png", "moved.png", "moving.gif", "new.png"]
    )
    assert len(changed.rows) == 5  # the copy has the row of b.png
    [hit, *_] = model.search(folder / "copy.png", place)
    assert {hit.path, *hit.copies} == {str(folder / "b.png"), str(folder / "copy.png")}
    assert str(hit).endswith("b.png  (and 1 copy)")
    np.testing.assert_allclose(changed.features(), model.index(folder).features(), atol=1e-5)


def test_an_interrupted_index_keeps_what_was_encoded(model, folder, tmp_path, monkeypatch):
    place = tmp_path / "index"
    monkeypatch.setattr(building, "CHUNK", {"image": 1, "video": 1})
    monkeypatch.setattr(building, "SECONDS_BETWEEN_SAVES", 0.0)
    monkeypatch.setattr(building, "SAVING_SHARE", 0)
    identify = entries.identify

    def stop_at(path, *rest):
        if path.endswith("c.png"):
            raise KeyboardInterrupt
        return identify(path, *rest)

    monkeypatch.setattr(entries, "identify", stop_at)
    with pytest.raises(KeyboardInterrupt):
        model.index(folder, place)
    monkeypatch.setattr(entries, "identify", identify)
    assert model.index(folder, place).encoded == 2


def test_features_are_written_for_other_programs(model, folder, tmp_path):
    index = model.index(folder)
    npy, parquet = index.export(tmp_path / "out/found.v1")
    assert npy == tmp_path / "out/found.v1.npy" and parquet.name == "found.v1.parquet"
    np.testing.assert_array_equal(np.load(npy), index.features())
    table = pq.read_table(parquet)
    assert table.column_names == ["path", "kind", "hash", "embedding"]
    assert table["path"].to_pylist() == [entry.path for entry in index.readable]
    rows = np.array(table["embedding"].to_pylist(), np.float32)
    np.testing.assert_array_equal(rows, index.features())
    with pytest.raises(PromptError, match="found.v1.npy exists already"):
        index.export(tmp_path / "out/found.v1")


def test_only_one_kind(model, folder):
    assert names(model.index(folder, only="videos")) == ["moving.gif"]
    pictures = model.index(folder, only="images")
    assert [entry.kind for entry in pictures.readable] == ["image"] * 4
    with pytest.raises(PromptError, match="unknown value of only 'both'"):
        model.index(folder, only="both")
    with pytest.raises(PromptError, match=r"no videos in or below .* \(other files: 1 .png\)"):
        model.index(folder / "more", only="videos")


def test_a_model_of_videos_uses_its_encoders(tmp_path, model):
    clip, root = model.backbone, tmp_path / "videos"
    one, other = (write_folder(root / name, count=4, size=(40, 32)) for name in "ab")
    videos = np.random.default_rng(1).integers(0, 256, (2, 2, 40, 40, 3), np.uint8)
    vop = pj.fit("vop_p", clip, list(videos), ["sea horse", "pagoda"], epochs=1, frames=2)
    index = vop.index(root, tmp_path / "index")
    assert [entry.path for entry in index.readable] == [str(one), str(other)]
    assert len(index.rows) == 1  # equal frames
    np.testing.assert_allclose(index.rows, vop.encode_images([one]), atol=1e-5)
    [hit] = vop.search("a sea horse", index)
    assert hit.similarity == pytest.approx(
        float(vop.encode_texts("a sea horse")[0] @ index.rows[0]), abs=1e-5
    )
    # A frame that changes changes the video.
    Image.new("RGB", (40, 32), "red").save(other / "00002.jpg")
    assert vop.index(root, tmp_path / "index").encoded == 1
    with pytest.raises(PromptError, match="made otherwise than by this model: .*method='vop_p'"):
        model.search("a sea horse", index)
    with pytest.raises(PromptError, match=f"{tmp_path}/index was made otherwise"):
        model.index(root, tmp_path / "index")


def test_what_cannot_be_searched_is_said(model, folder, tmp_path):
    index = model.index(folder)
    for query, message in (("  ", "the query is empty"), ([folder / "a.png"] * 2, "has 2 images")):
        with pytest.raises(PromptError, match=message):
            model.search(query, index)
    with pytest.raises(PromptError, match="top_k=0 must be"):
        model.search("a", index, top_k=0)
    with pytest.raises(PromptError, match="frames=0 must be"):
        model.index(folder, frames=0)
    with pytest.raises(PromptError, match="no paths; name files"):
        model.index([])
    with pytest.raises(PromptError, match="a path is empty"):
        model.index([""])
    with pytest.raises(PromptError, match="is not an index: it has no index.json"):
        model.search("a", tmp_path)
    with pytest.raises(PromptError, match="has other content; name a new or empty directory"):
        model.index(folder, folder)
    with pytest.raises(PromptError, match=r"a.png is a file; name a new"):
        model.index(folder, folder / "a.png")
    (place := tmp_path / "index").mkdir()
    opened = files.lock(place)
    with pytest.raises(PromptError, match="another process is writing"):
        model.index(folder, place)
    os.close(opened)
    other = pj.load(model.backbone, prepare="half")
    with pytest.raises(PromptError, match=r"stats='clip', not 'half'"):
        other.search("a", index)


def test_features_that_are_not_finite_are_no_broken_files(model, folder, monkeypatch):
    encode = type(model).encode_images
    monkeypatch.setattr(type(model), "encode_images", lambda *rest: encode(*rest) * np.nan)
    with pytest.raises(PromptError, match=r"a.png: its features are NaN or infinite"):
        model.index(folder / "a.png")


def test_odd_files_are_listed_and_not_opened(model, tmp_path):
    save_image(tmp_path / "a.png", 0)
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "gone.png").symlink_to("nowhere")
    pathlib.Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png")).write_bytes(b"")
    index = model.index(tmp_path, tmp_path / "kept")
    assert names(index) == ["a.png"]
    found = {os.path.basename(path): error for path, error in index.errors.items()}
    assert found.pop("pipe.png") == "it is a named pipe, not a file"
    assert found.pop("gone.png") == "no such file"
    [(_, error)] = found.items()
    assert error.startswith("its name is not valid UTF-8")
