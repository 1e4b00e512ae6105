"""Damage to the files of a run, by case: the file, the change, and the expected message."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from run_files import CONFIG, change_column, change_line, change_results

PARQUET, COUNTS = "predictions-test.parquet", "confusion-test.csv"
RANKS, METRICS, RESULTS = "ranks-test.csv", "metrics.jsonl", "results.json"
Damage = Callable[[Path], None]


def no_regular_file(kind: str) -> Damage:
    def damage(path: Path) -> None:
        path.unlink()
        match kind:
            case "fifo":
                os.mkfifo(path)
            case "folder":
                path.mkdir()
            case "device":
                path.symlink_to("/dev/zero")
            case "dangling":
                path.symlink_to("nowhere")
            case "sparse":
                with path.open("wb") as file:
                    file.truncate(8 * 2**30)

    return damage


def content(new: bytes | Callable[[bytes], bytes]) -> Damage:
    def damage(path: Path) -> None:
        path.write_bytes(new(path.read_bytes()) if callable(new) else new)

    return damage


def before(first: bytes) -> Damage:
    return content(lambda old: first + b"\n" + old)


def column(name: str, values: object) -> Damage:
    return lambda path: change_column(path, name, values)


def line(number: int, *cells: str) -> Damage:
    return lambda path: change_line(path, number, list(cells))


def field(**changes: object) -> Damage:
    return lambda path: change_results(path.parent, **changes)


def in_utf16(text: bytes) -> bytes:
    return text.decode().encode("utf-16")


def repeated(number: int) -> pa.Array:
    """Returns a text of one kilobyte repeated many times, stored once."""
    return pa.DictionaryArray.from_arrays(np.zeros(number, np.int32), ["x" * 1000])


def long_list(path: Path) -> None:
    """Returns as many rows and values as expected, of a text of megabytes each."""
    lists = pa.ListArray.from_arrays([0, 5, 10, 15, 20], pa.array(["x" * 2**20] * 20))
    change_column(path, "top5", lists)


def bomb(path: Path) -> None:
    """Returns endless rows in a few kilobytes."""
    rows = 3_000_000
    pq.write_table(pa.table({"path": repeated(rows)}), path, compression="zstd")


def wide(path: Path) -> None:
    """Returns as many rows as expected, one of them with an endless list."""
    offsets = pa.array([0, 1, 2, 3, 3_000_000], pa.int32())
    change_column(path, "top5", pa.ListArray.from_arrays(offsets, repeated(3_000_000)))


def long_text(path: Path) -> None:
    change_column(path, "path", pa.array(["x" * 2**22, "a", "b", "c"]))


LISTS = [[0.6, 0.3, 0.1]] * 4
FLOATS = pa.list_(pa.float32())
DAMAGED: dict[str, tuple[str, Damage, str]] = {
    # predictions
    "probabilities null": (PARQUET, column("probabilities", pa.array([None] * 4, FLOATS)), "null"),
    "a probability null": (
        PARQUET, column("probabilities", pa.array([[None, 0.3, 0.1]] * 4, FLOATS)), "probabilities",
    ),
    "probabilities empty": (
        PARQUET, column("probabilities", pa.array([[]] * 4, FLOATS)), "probabilities",
    ),
    "probabilities text": (PARQUET, column("probabilities", pa.array([["a"]] * 4)), "probabil"),
    "probabilities NaN": (
        PARQUET, column("probabilities", pa.array([[np.nan] * 3] * 4, FLOATS)), "nan",
    ),
    "probabilities of 7": (
        PARQUET, column("probabilities", pa.array([[7.0, 0, 0]] * 4, FLOATS)), "7.0",
    ),
    "fewer probabilities": (
        PARQUET, column("probabilities", pa.array([[0.6]] * 4, FLOATS)), "different lengths",
    ),
    "too many probabilities": (
        PARQUET, column("probabilities", pa.array([[0.1] * 9] * 4, FLOATS)), "probabilities",
    ),
    "probabilities no list": (
        PARQUET, column("probabilities", pa.array([0.5] * 4, pa.float32())), "probabilities",
    ),
    "top-5 null": (PARQUET, column("top5", pa.array([None] * 4, pa.list_(pa.string()))), "top5"),
    "a top-5 name null": (PARQUET, column("top5", pa.array([[None, "a", "b"]] * 4)), "top5"),
    "top-5 numbers": (PARQUET, column("top5", pa.array([[1, 2, 3]] * 4)), "top5"),
    "top-5 gone": (PARQUET, column("top5", None), "top5"),
    "an iteration gone": (PARQUET, column("top5_after_0", None), "different numbers of columns"),
    "iteration 7": (PARQUET, column("top5_after_7", pa.array([["a"]] * 4)), "top5_after_0"),
    "path null": (PARQUET, column("path", pa.array([None] * 4, pa.string())), "path"),
    "path numbers": (PARQUET, column("path", pa.array([1, 2, 3, 4])), "path"),
    "path bytes": (PARQUET, column("path", pa.array([b"\xff"] * 4)), "path"),
    "path long": (PARQUET, long_text, "path: a text of"),
    "class gone": (PARQUET, column("class", None), "class"),
    "class null": (PARQUET, column("class", pa.array(["a", None, "b", "c"])), "class"),
    "right text": (PARQUET, column("right", pa.array(["yes"] * 4)), "right"),
    "right null": (PARQUET, column("right", pa.array([None] * 4, pa.bool_())), "right"),
    "right of others": (PARQUET, column("right", pa.array([True] * 4)), "accuracy 100.00 %"),
    "a row less": (
        PARQUET, lambda path: pq.write_table(pq.read_table(path).slice(1), path), "3 rows, 4",
    ),
    "no rows": (
        PARQUET, lambda path: pq.write_table(pq.read_table(path).slice(4), path), "0 rows, 4",
    ),
    "a bomb of rows": (PARQUET, bomb, "top5"),
    "a bomb of a list": (PARQUET, wide, "top5"),
    "a long name": (PARQUET, long_list, "top5: a text of 1,048,576 bytes"),
    "torn": (PARQUET, content(lambda old: old[:-9]), "Parquet"),
    "other bytes": (PARQUET, content(b"PAR1" * 9), ""),
    "predictions empty": (PARQUET, content(b""), ""),
    "predictions JSON": (PARQUET, content(b"{}"), ""),
    # counts
    "counts UTF-16": (COUNTS, content(in_utf16), "utf-8"),
    "counts long": (COUNTS, line(1, "x" * 200_000, "a", "1"), "larger than field limit"),
    "counts null bytes": (COUNTS, content(bytes(99)), "first line"),
    "counts empty": (COUNTS, content(b""), "first line"),
    "counts of others": (COUNTS, line(1, "ant", "cat", "9"), "examples, 4 in results.json"),
    "a count in words": (COUNTS, line(1, "ant", "ant", "one"), "line 2"),
    "a count of 5,000 digits": (COUNTS, line(1, "ant", "ant", "9" * 5000), "line 2"),
    "a count below 0": (COUNTS, line(1, "ant", "ant", "-1"), "line 2"),
    "a cell less": (COUNTS, line(1, "ant", "ant"), "line 2"),
    "a quote open": (COUNTS, content(lambda old: old + b'"ant'), "line"),
    # metrics
    "metrics UTF-16": (METRICS, content(in_utf16), "damaged line"),
    "loss text": (METRICS, before(b'{"step": 1, "loss": "x"}'), "1 damaged line"),
    "loss NaN": (METRICS, before(b'{"step": 1, "loss": NaN}'), "1 damaged line"),
    "loss 1e400": (METRICS, before(b'{"step": 1, "loss": 1e400}'), "1 damaged line"),
    "step null": (METRICS, before(b'{"step": null}'), "1 damaged line"),
    "a line of a list": (METRICS, before(b"[1]"), "1 damaged line"),
    "deep": (METRICS, before(b"[" * 9999), "1 damaged line"),
    "many lines": (METRICS, content(b"1\n" * 9999), "more than 1,000 damaged lines"),
    # results: fields beside the figures
    "intervals null": (RESULTS, field(interval={"test": [None, None]}), "interval.test.0"),
    "an interval of one": (RESULTS, field(interval={"test": [1.0]}), "interval.test"),
    "an interval in words": (RESULTS, field(interval="wide"), "interval"),
    "data_notes a number": (RESULTS, field(data_notes=3), "data_notes: 3"),
    "a note of a list": (RESULTS, field(data_notes=[["a"]]), "data_notes.0"),
    "note a list": (RESULTS, field(note=[1]), "note"),
    "ECE text": (RESULTS, field(calibration_error={"test": "9"}), "calibration_error.test"),
    "confidence of 900": (RESULTS, field(confidence={"test": 900.0}), "confidence.test"),
    "top5 null": (RESULTS, field(top5={"test": None}), "top5.test"),
    "seconds text": (RESULTS, field(train_seconds="3"), "train_seconds"),
    "seconds below 0": (RESULTS, field(train_seconds=-3.0), "train_seconds"),
    "parameters text": (RESULTS, field(trainable_parameters="many"), "trainable_parameters"),
    "classes a list": (RESULTS, field(class_accuracy={"test": [[1]]}), "class_accuracy.test.0"),
}  # fmt: skip
FILES = {
    f"{name}, {kind}": (name, no_regular_file(kind), "")
    for name in (PARQUET, COUNTS, METRICS)
    for kind in ("fifo", "folder", "device", "dangling", "sparse")
}
SEARCHED: dict[str, tuple[str, Damage, str]] = {
    "ranks UTF-16": (RANKS, content(in_utf16), "utf-8"),
    "ranks long": (RANKS, line(1, "a", "x" * 200_000, "1", "2"), "larger than field limit"),
    "a rank in words": (RANKS, line(1, "a", "b", "first", "2"), "line 2: 'first' is not a rank"),
    "a rank NaN": (RANKS, line(1, "a", "b", "nan", "2"), "line 2"),
    "a rank 0": (RANKS, line(1, "a", "b", "0", "2"), "line 2"),
    "a rank gone": (RANKS, line(1, "a", "b", "1"), "line 2 has 3 cells"),
    "other columns": (RANKS, line(0, "a", "b", "c", "d"), "first line"),
    "a caption less": (RANKS, content(lambda old: old.rsplit(b"\r\n", 2)[0]), "2 captions, 3"),
    "ranks null bytes": (RANKS, content(bytes(99)), "first line"),
    "ranks FIFO": (RANKS, no_regular_file("fifo"), "regular file"),
    "ranks sparse": (RANKS, no_regular_file("sparse"), "at most"),
    "rank intervals null": (RESULTS, field(rank_intervals={"test": None}), "rank_intervals.test"),
}
REFUSED: dict[str, tuple[Damage, str]] = {
    "FIFO": (no_regular_file("fifo"), "regular file"),
    "folder": (no_regular_file("folder"), "regular file"),
    "device": (no_regular_file("device"), "regular file"),
    "dangling": (no_regular_file("dangling"), "No such file"),
    "sparse": (no_regular_file("sparse"), "at most"),
    "empty": (content(b""), "results.json"),
    "a list": (content(b"[]"), "no JSON object"),
    "UTF-16": (content(in_utf16), "utf-8"),
    "deep": (content(b'{"a":' * 3000), "too deep"),
    "accuracy null": (field(accuracy={"test": None}), "accuracy.test"),
    "accuracy a list": (field(accuracy=[50.0]), "accuracy"),
    "accuracy of others": (field(accuracy={"base": 50.0}), "accuracy"),
    "a test set's name is a path": (field(accuracy={"../x": 50.0, "test": 1.0}), "../x"),
    "zero-shot text": (field(zero_shot={"test": "50"}), "zero_shot.test"),
    "method null": (field(method=None), "method"),
    "method gone": (field(method=...), "method"),
    "seed text": (field(seed="1"), "seed"),
    "shots below 0": (field(shots=-1), "shots"),
    "protocol of others": (field(protocol="detection"), "protocol='detection'"),
    "dataset a number": (field(dataset=3), "dataset"),
    "config a list": (field(config=[]), "config"),
    "a config's data a number": (field(config=CONFIG | {"data": 3}), "config.data"),
    "images null": (field(pictures={"train": None}), "pictures.train"),
    "per_iteration a number": (field(per_iteration={"test": 3}), "per_iteration.test"),
    "hashes text": (field(data_hashes="ab"), "data_hashes"),
    "chosen a list": (field(chosen=[1]), "chosen"),
    "split_sources numbers": (field(split_sources={"test": 1}), "split_sources.test"),
    "shots_per_class of one": (field(shots_per_class=[1]), "shots_per_class"),
    "another digest": (field(digest="0"), "digest"),
}
