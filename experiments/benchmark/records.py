"""The record of a benchmark: one JSON file, which a later call continues."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.benchmark.cells import Cell
from experiments.benchmark.worker import NO_TIME
from experiments.record.workdir import git_commit
from prompt_jax.errors import PromptError

ROOT = Path(__file__).parents[2]
# A record is continued only where these agree.
SAME = ("device", "code", "versions", "memory budget")


def code_hash() -> str:
    """Returns a hash of the measured code, which also identifies it outside git."""
    found = hashlib.sha256()
    for path in sorted((ROOT / "prompt_jax").rglob("*.py")) + sorted(
        (ROOT / "experiments/benchmark").rglob("*.py")
    ):
        found.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return found.hexdigest()[:16]


def read(file: Path, flag: str = "--draw") -> dict[str, Any]:
    """Reads a benchmark's JSON file.

    Raises:
        PromptError: the file is missing or malformed.
    """
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        cells = [*record["cells"], *(each["cell"] for each in record["left_out"])]
        _ = [cell_of(each) for each in cells], record["device"]["name"], record["versions"]
        _ = record["commit"], record["date"]
    except OSError as error:
        raise PromptError(f"{flag}={file} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise PromptError(f"{flag}={file} is not a benchmark's JSON file") from None
    if record["commit"] == "unknown" and record.get("code") == code_hash():
        record["commit"] = git_commit()  # measured on a machine without git
    return record


def resume(file: Path, fresh: Mapping[str, Any], counterpart: bool) -> dict[str, Any]:
    """Returns the record in `file` to continue, or `fresh` if there is none.

    What failed, or was skipped for lack of time, is measured again. Cells without a counterpart
    are too if one is wanted.

    Raises:
        PromptError: it was measured with other code or versions, or on another device.
    """
    if not file.exists():
        return dict(fresh)
    record = read(file, "--workdir")
    here, there = _conditions(fresh), _conditions(record)
    if other := [name for name in SAME if here[name] != there[name]]:
        name = other[0]
        raise PromptError(
            f"{file} was measured with another {name} ({there[name]}, here {here[name]}); delete "
            "it or choose another --workdir"
        )
    kept = [
        each for each in record["left_out"] if not each["failed"] and NO_TIME not in each["reason"]
    ]
    without = [cell_of(each["cell"]) for each in kept if each["side"] == "counterpart"]
    cells = [
        each
        for each in record["cells"]
        if "counterpart" in each or not counterpart or cell_of(each) in without
    ]
    checks = {
        name: [row for row in record.get(name, []) if "reason" not in row or name == "attention"]
        for name in ("parity", "attention")
    }
    if counterpart:
        checks["parity"] = [row for row in checks["parity"] if "counterpart" in row]
    return {**fresh, **checks, "cells": cells, "left_out": kept}


def is_done(record: Mapping[str, Any], cell: Cell) -> bool:
    """Returns whether a cell was measured, or skipped for its size."""
    skipped = (each["cell"] for each in record["left_out"] if each["side"] == "both")
    return cell in map(cell_of, [*record["cells"], *skipped])


def cell_of(entry: Mapping[str, Any]) -> Cell:
    """Returns the cell of an entry of a record."""
    names = [field.name for field in dataclasses.fields(Cell)]
    if "layers" not in entry:  # of earlier versions
        names.remove("layers")
    return Cell(**{name: entry[name] for name in names})


def _conditions(record):
    return {
        "device": f"{record['device']['name']}, {record['device']['cores']} cores",
        "code": record.get("code", record["commit"]),
        "versions": ", ".join(f"{name} {each}" for name, each in record["versions"].items()),
        "memory budget": record["options"].get("memory"),
    }
