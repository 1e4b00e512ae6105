"""Predictions of each test image, and results of each search: a Parquet file per test set."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from data_pipelines.examples import Example
from prompt_jax.evaluation.evaluate import TOP, TopClasses
from prompt_jax.evaluation.retrieval import Directions


def predictions_file(key: str) -> str:
    """Returns the file name of a test set's predictions, by its key in results.json."""
    return f"predictions-{key.replace(':', '-')}.parquet"


def write(
    path: pathlib.Path, examples: Sequence[Example], names: Sequence[str], found: TopClasses
) -> None:
    """Writes one row per example, in their order, atomically.

    Columns: path, start and end (seconds, of a part of a video; else null), label, class, right,
    top5 (names, most probable first) and probabilities of the last iteration; for several
    iterations also top5_after_0, probabilities_after_0, …

    Args:
        path: see `predictions_file`.
        examples: n, as they were tested.
        names: of the K classes, unique, see `class_names.distinct`.
        found: the predictions of these examples.

    Raises:
        OSError: it cannot be written.
    """
    labels = np.array([example.label for example in examples])
    if not np.array_equal(labels, found.labels):
        raise ValueError("the predictions do not belong to these examples in this order")
    last = len(found.classes) - 1
    columns: dict[str, Any] = {
        "path": [_as_text(example.image) for example in examples],
        **_spans(examples),
        "label": pa.array(labels, pa.int32()),
        "class": [names[label] for label in labels],
        "right": found.classes[last, :, 0] == labels,
        **_top(names, found, last, ""),
    }
    for iteration in range(last):
        columns |= _top(names, found, iteration, f"_after_{iteration}")
    _write_whole(path, columns)


def write_retrieval(
    path: pathlib.Path,
    videos: Sequence[Example],
    ranks: Directions,
    zero_shot: Directions,
    similarities: np.ndarray,
) -> None:
    """Writes one row per caption (t2v), then one per video (v2t), atomically.

    Columns: direction (t2v, v2t), path, start, end, caption (null for videos), rank and
    zero_shot_rank (from 1, the mean of ties), top5 (paths of the most similar videos, or the most
    similar captions, most similar first) and similarities.

    Args:
        path: see `predictions_file`.
        videos: M, as they were tested, with N captions in all.
        ranks, zero_shot: of the method and of zero-shot CLIP.
        similarities: float[N, M], of the method.

    Raises:
        OSError: it cannot be written.
    """
    captions = [caption for clip in videos for caption in clip.captions]
    paths = [_as_text(clip.image) for clip in videos]
    owners = [clip for clip in videos for _ in clip.captions]
    asked = [*owners, *videos]
    near = [_nearest(similarities, paths), _nearest(similarities.T, captions)]
    columns = {
        "direction": ["t2v"] * len(captions) + ["v2t"] * len(videos),
        "path": [_as_text(clip.image) for clip in asked],
        **_spans(asked),
        "caption": pa.array([*captions, *[None] * len(videos)], pa.string()),
        "rank": np.concatenate([one.middle for one in ranks]),
        "zero_shot_rank": np.concatenate([one.middle for one in zero_shot]),
        "top5": [names for one in near for names, _ in one],
        "similarities": [shares for one in near for _, shares in one],
    }
    _write_whole(path, columns)


def _nearest(similarities: np.ndarray, names: Sequence[str]) -> list[tuple[list[str], list[float]]]:
    found = []
    for row in similarities:
        places = np.argsort(-row, kind="stable")[:TOP].tolist()
        found.append(([names[place] for place in places], row[places].tolist()))
    return found


def _spans(examples: Sequence[Example]) -> dict[str, pa.Array]:
    spans = [example.span or (None, None) for example in examples]
    return {
        "start": pa.array([start for start, _ in spans], pa.float64()),
        "end": pa.array([end for _, end in spans], pa.float64()),
    }


def _write_whole(path: pathlib.Path, columns: dict[str, Any]) -> None:
    unfinished = path.with_name(f"{path.name}.unfinished")
    try:
        pyarrow.parquet.write_table(pa.table(columns), unfinished, compression="zstd")
        os.replace(unfinished, path)
    except OSError:
        unfinished.unlink(missing_ok=True)  # frees space on a full disk
        raise


def _as_text(path: str) -> str:
    """Escapes what is not UTF-8 in a file name as \\udc.."""
    return path.encode("utf-8", "backslashreplace").decode("utf-8")


def _top(
    names: Sequence[str], found: TopClasses, iteration: int, ending: str
) -> dict[str, pa.Array]:
    classes, probabilities = found.classes[iteration], found.probabilities[iteration]
    number, top = classes.shape
    offsets = pa.array(np.arange(0, number * top + 1, top), pa.int32())
    named = pa.array(names, pa.string()).take(pa.array(classes.reshape(-1)))
    shares = pa.array(probabilities.reshape(-1), pa.float32())
    return {
        f"top5{ending}": pa.ListArray.from_arrays(offsets, named),
        f"probabilities{ending}": pa.ListArray.from_arrays(offsets, shares),
    }
