"""Writes directories of finished runs, of classification and of retrieval, with all files."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data_pipelines.examples import Example
from experiments.record.files import predictions, ranks
from prompt_jax.evaluation.evaluate import TopClasses
from tests.helpers.files.result_trees import put, put_counts

NAMES = ("ant", "bee", "cat")
METRICS = {"R@1": 50.0, "R@5": 75.0, "R@10": 100.0, "MnR": 2.0, "MdR": 1.5}
CONFIG = {
    **{"method": "coop", "protocol": "few_shot", "backbone": "gone", "epochs": 3, "seed": 1},
    "data": {"name": "folder", "root": "/gone"},
}


def _results(**changes: Any) -> dict[str, Any]:
    return {
        "dataset": "folder",
        "split_source": "",
        "accuracy": {"test": 50.0},
        "zero_shot": {"test": 50.0},
        "per_iteration": {"test": [50.0]},
        "data_hashes": {"train": "ab", "tests": {"test": "cd"}, "sizes": {"tests": {}}},
        "skipped_pictures": [],
        "data_notes": ["a note"],
        "train_seconds": 3.0,
        "trainable_parameters": 8,
        "config": CONFIG,
        **changes,
    }


def write_classification_run(folder: Path, iterations: int = 2) -> Path:
    """Writes a few-shot run that tested four images of three classes to `folder`."""
    path = put(
        folder,
        **_results(
            protocol="few_shot",
            method="pro_mpt",
            classes={"test": 3},
            pictures={"train": 8, "test_test": 4},
            interval={"test": [15.0, 85.0]},
            calibration_error={"test": 10.0},
            zero_shot_calibration_error={"test": 10.0},
            confidence={"test": 60.0},
            top5={"test": 100.0},
        ),
    ).parent
    examples = [Example(f"{n}.jpg", n % 3, NAMES[n % 3]) for n in range(4)]
    classes = np.array([[0, 2, 1], [2, 1, 0], [2, 0, 1], [1, 0, 2]])
    top_classes = TopClasses(
        np.array([0, 1, 2, 0]),
        np.stack([classes] * iterations),
        np.tile(np.float32([0.6, 0.3, 0.1]), (iterations, 4, 1)),
    )
    predictions.write(path / "predictions-test.parquet", examples, NAMES, top_classes)
    counts = {("ant", "ant"): 1, ("ant", "bee"): 1, ("bee", "cat"): 1, ("cat", "cat"): 1}
    put_counts(path / "results.json", {"test": counts})
    _log(path)
    return path


def write_retrieval_run(folder: Path) -> Path:
    """Writes a retrieval run on three captions to `folder`."""
    ways = {"test": {"t2v": METRICS, "v2t": METRICS}}
    ends = {"R@1": [10.0, 90.0], "R@5": [10.0, 90.0], "R@10": [10.0, 90.0]}
    path = put(
        folder,
        **_results(
            protocol="retrieval",
            method="vop",
            dataset="captions_csv",
            classes={"test": 0},
            captions={"test": 3},
            pictures={"train": 8, "test_test": 3},
            ranks=ways,
            zero_shot_ranks=ways,
            rank_intervals={"test": {"t2v": ends, "v2t": ends}},
        ),
    ).parent
    lines = [
        ranks.Line("a.mp4", "a dog", 1, 4),
        ranks.Line("b.mp4", "a cat", 3, 2),
        ranks.Line("c.mp4", "a fly", 9, 9),
    ]
    ranks.write(path / "ranks-test.csv", lines)
    _log(path)
    return path


def _log(folder: Path) -> None:
    lines = [
        {"step": step, "loss": 1 / step, "accuracy": 50.0, "learning_rate": 0.1}
        for step in range(1, 9)
    ]
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def change_results(folder: Path, **changes: Any) -> None:
    """Changes fields of a results.json; fields set to ... are removed."""
    path = folder / "results.json"
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: one for key, one in content.items() if one is not ...}))


def change_column(path: Path, name: str, values: Any) -> None:
    """Replaces the values of a column of a Parquet file, by any type; None removes it."""
    columns = dict(zip((table := pq.read_table(path)).column_names, table.columns, strict=True))
    columns[name] = values
    pq.write_table(pa.table({key: one for key, one in columns.items() if one is not None}), path)


def change_line(path: Path, number: int, cells: list[str]) -> None:
    """Replaces the cells of a line of a CSV file, counted from 0."""
    with path.open(newline="", encoding="utf-8") as file:
        lines = list(csv.reader(file))
    lines[number] = cells
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(lines)
