"""Writes small results.json files, and reads tables that are made of them."""

import csv
import json
from pathlib import Path
from typing import Any

from experiments import results
from experiments.figures import result_table
from experiments.figures.papers import published
from experiments.record.files.confusions import COLUMNS, confusion_file

ELEVEN = published.AVERAGED["base_to_novel"]


def put(folder: Path, **changes: Any) -> Path:
    """Writes one run; returns its results.json."""
    content: dict[str, Any] = {
        "method": "coop",
        "protocol": "base_to_novel",
        "ablation": "",
        "variant": "",
        "backbone": "ViT-B/16",
        "backbone_hash": "0123456789abcdef",
        "dataset": "caltech101",
        "split_source": "split_zhou_Caltech101.json",
        "features": "",
        "shots": 16,
        "seed": 1,
        "accuracy": {"base": 80.0, "new": 60.0},
        "zero_shot": {"base": 70.0, "new": 70.0, "h": 70.0},
        "per_iteration": {"base": [80.0], "new": [60.0]},
        "classes": {"base": 50, "new": 50},
        "pictures": {"train": 800, "test_base": 10, "test_new": 10},
        "config": {"epochs": 50, "seed": 1, "data": {"name": "caltech101", "root": "/a"}},
    }
    content |= changes
    path = folder / f"run{len(list(folder.glob('run*')))}" / "results.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content))
    return path


Counts = dict[str, dict[tuple[str, str], int]]


def put_counts(results_json: Path, counts: Counts) -> None:
    """Writes the confusions of a run beside its results, by the key of a test set."""
    for key, of_pairs in counts.items():
        path = results_json.with_name(confusion_file(key))
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            writer.writerows((*pair, number) for pair, number in of_pairs.items())


def only_table(folder: Path) -> result_table.ResultTable:
    (table,), _, remarks = results.summarize(folder)
    assert not remarks
    return table


def row(table: result_table.ResultTable, label: str) -> result_table.Row:
    (found,) = (row for row in table.rows if row.label == label)
    return found


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
