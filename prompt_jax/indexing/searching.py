"""Makes an index with a model, and searches it: the methods `index` and `search` of `Model`."""

import contextlib
import dataclasses
import hashlib
import os
import pathlib
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from prompt_jax.clip import loading
from prompt_jax.errors import BadImage, PromptError
from prompt_jax.indexing import building, entries, stored
from prompt_jax.indexing.entries import Entry, Kind
from prompt_jax.indexing.index import Hit, Index, load
from prompt_jax.indexing.stored import ABOUT, Encoder
from prompt_jax.storage import files

FRAMES = 8  # of a video, for a model of images
VIDEOS_AT_ONCE = 16


def index(
    model: Any,
    paths: Sequence[str | os.PathLike] | str | os.PathLike,
    folder: str | os.PathLike | None = None,
    *,
    only: str = "",
    frames: int = FRAMES,
    batch_size: int = 64,
    quiet: bool = False,
) -> Index:
    """Encodes images and videos, to be searched by `search`.

    With a folder, the index is kept there: a later call encodes only files that are new or were
    changed, by their content, and drops those that are gone. Files that cannot be read are listed
    in `Index.errors`.

    A model of images also takes videos, whose features are the average over their frames.

    Args:
        model: a `Model`, trained or bare.
        paths: files and directories, which are searched recursively.
        folder: a new or empty directory, or one that has an index; None: it is not kept.
        only: "images" or "videos" of directories with both; "": all.
        frames: per video, for a model of images; a model of videos has its own number.
        batch_size: images per step, at most; videos at most 16.
        quiet: hides the progress bar.

    Raises:
        PromptError: there are no images or videos, or the folder has another model's index, or
            another content, or another process is writing it.
        DataError: a directory cannot be read, or PyAV is not installed and there are videos.
        OSError: the index cannot be written.
    """
    listed = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    left_out: list[str] = []
    found = entries.find(listed, model.inputs.frames > 0, only, left_out)
    encoder = encoder_of(model, frames)
    place = None if folder is None else pathlib.Path(folder)
    of_videos = model if model.inputs.frames else _over_frames(model, frames)

    def encode(kind: Kind, some: list[str], on_error: Callable[[BadImage], None]) -> np.ndarray:
        if kind == "image":
            return model.encode_images(some, batch_size, on_error)
        return of_videos.encode_images(some, min(batch_size, VIDEOS_AT_ONCE), on_error)

    def save(some: list[Entry], rows: np.ndarray) -> None:
        if place is not None:
            stored.write(place, encoder, some, rows)

    title = "" if quiet else "index"
    with _locked(place):
        earlier, features = _earlier(place, encoder, model.clip.config.embed_dim)
        built = building.build(found, earlier, features, encode, save, title)
    counts = built.encoded, built.removed
    return Index(encoder, tuple(built.entries), built.features, *counts, tuple(left_out))


def search(model: Any, query: Any, index: Index | str | os.PathLike, top_k: int = 10) -> list[Hit]:
    """Returns the images and videos of an index that are most similar to a text or an example.

    Args:
        model: the `Model` that made the index.
        query: a text, "a dog running"; or an image or video, see `inputs.preparation`, where a path
            is a `pathlib.Path`, not a text.
        index: from `index`, or the directory where it is kept.
        top_k: number of hits; files with equal content are one.

    Raises:
        BadImage: the example cannot be read.
        PromptError: the query is empty or too long, or the index is damaged, or another model's.
    """
    if not isinstance(top_k, int) or isinstance(top_k, bool) or top_k < 1:
        raise PromptError(f"top_k={top_k!r} must be a whole number, at least 1")
    held = index if isinstance(index, Index) else load(index)
    place = "the index" if isinstance(index, Index) else os.fspath(index)
    check_encoder(encoder_of(model, held.encoder.frames), held.encoder, place)
    if isinstance(query, str):
        if not query.strip():
            raise PromptError("the query is empty; pass a text, such as 'a dog running'")
        feature = model.encode_texts([query])
    else:
        feature = model.encode_images(query)
        if len(feature) != 1:
            raise PromptError(f"the query has {len(feature)} {model.inputs.kind}s; pass one")
    return held.nearest(feature[0], top_k)


def encoder_of(model: Any, frames: int) -> Encoder:
    """Returns what identifies the features of a model; computed once for each model.

    Args:
        model: a `Model`.
        frames: per video, for a model of images.
    """
    if isinstance(frames, bool) or not isinstance(frames, int) or frames < 1:
        raise PromptError(f"frames={frames!r} must be a whole number, at least 1")
    if model not in _ENCODERS:
        encoders = model.encoders
        backbone = jax.tree.map(np.asarray, model.frozen)
        _ENCODERS[model] = Encoder(
            backbone=loading.fingerprint(model.clip.config, backbone),
            method=model.name if encoders else "",
            prompts=_digest(model) if encoders else "",
            dtype=model.clip.dtype.name,
            precision=model.clip.precision,
            inputs=dataclasses.asdict(model.inputs),
            frames=max(model.inputs.frames, 1),
        )
    made = _ENCODERS[model]
    return made if model.inputs.frames else made.model_copy(update={"frames": frames})


_ENCODERS: weakref.WeakKeyDictionary[Any, Encoder] = weakref.WeakKeyDictionary()


def _digest(model: Any) -> str:
    digest = hashlib.sha256(repr(model.settings).encode())
    for path, array in jax.tree.leaves_with_path(model.prompts):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def check_encoder(own: Encoder, held: Encoder, place: str) -> None:
    """Raises a PromptError that names where an index was made differently than a model would."""
    mine, theirs = own.model_dump(), held.model_dump()
    flat = {**mine.pop("inputs"), **mine}, {**theirs.pop("inputs"), **theirs}
    if different := [name for name in flat[0] if flat[0][name] != flat[1][name]]:
        shown = "; ".join(f"{name}={flat[1][name]!r}, not {flat[0][name]!r}" for name in different)
        raise PromptError(
            f"{place} was made otherwise than by this model: {shown}. Use that model and these "
            "settings, or another directory"
        )


@contextlib.contextmanager
def _locked(place: pathlib.Path | None) -> Iterator[None]:
    """Keeps other processes from writing an index; makes its directory."""
    if place is None:
        yield
        return
    if place.exists() and not place.is_dir():
        raise PromptError(f"{place} is a file; name a new or empty directory")
    place.mkdir(parents=True, exist_ok=True)
    opened = files.lock(place.resolve())
    try:
        yield
    finally:
        os.close(opened)


def _earlier(
    place: pathlib.Path | None, encoder: Encoder, width: int
) -> tuple[list[Entry], np.ndarray]:
    """Returns the entries and features of the index at a place, if there is one."""
    if place is None or files.is_free(place):
        return [], np.zeros((0, width), np.float32)
    if not (place / ABOUT).exists():
        raise PromptError(
            f"{place} has other content; name a new or empty directory, or one with an index"
        )
    held, some, features = stored.read(place)
    check_encoder(encoder, held, str(place))
    if features.shape[1] != width:
        raise PromptError(f"{place}: width={features.shape[1]}; this model's features have {width}")
    return some, features


def _over_frames(model: Any, frames: int) -> Any:
    """Returns a model of images as one of videos, over whose frames features are averaged."""
    inputs = dataclasses.replace(model.inputs, frames=frames, frame_rule="even")
    return dataclasses.replace(model, inputs=inputs, _tasks={})
