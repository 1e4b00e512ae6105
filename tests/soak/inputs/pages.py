"""Files of finished runs, as read by a report and tables."""

import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from experiments import results
from experiments.report import __main__ as report
from experiments.report import curves, finished
from experiments.report.blocks import Table, Text
from tests.helpers.files import run_files

from ..files import Entry, Fifo, Files, Folder, Link, collect
from ..kind import Kind, Wrong
from ..mutations import BYTES, JSON, TEXT, Change


def _make() -> list[Files]:
    with tempfile.TemporaryDirectory() as folder:
        run_files.write_classification_run(Path(folder))
        run_files.write_retrieval_run(Path(folder))
        return [collect(Path(folder))]


def change_parquet(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Replaces a column by other values, types, nulls, or very long lists and texts."""
    table = pq.read_table(io.BytesIO(data))
    columns = dict(zip(table.column_names, table.columns, strict=True))
    name = random.choice(list(columns))
    number = random.choice((0, 1, 3, 4, 4, 4, 4, 5, 300_000))
    text = random.choice(("", "a", "\x1b[2J", "x" * 10**5))
    value = random.choice((None, 0, 7, -1, 2**40, 0.5, float("nan"), True, text, b"\xff"))
    match random.randrange(5):
        case 0:
            del columns[name]
        case 1:
            columns[name] = pa.array([value] * len(table))
        case 2:
            size = random.choice((0, 1, 3, 5, 6, 200_000))
            offsets = pa.array(np.minimum(np.arange(len(table) + 1) * size, 10**6), pa.int32())
            held = pa.DictionaryArray.from_arrays(
                np.zeros(int(offsets[-1].as_py()), np.int32), [text]
            )
            columns[name] = pa.ListArray.from_arrays(offsets, held)
        case 3:
            columns[f"{name}{random.choice(('_after_0', '_after_9', '_', ''))}"] = columns[name]
        case _:
            rows = pa.array(np.arange(number) % max(1, len(table)))
            columns = {key: one.take(rows) for key, one in columns.items()}
    file = io.BytesIO()
    compression = random.choice(("zstd", "snappy", "none"))
    pq.write_table(pa.table(columns), file, compression=compression)
    return file.getvalue()


_CHANGES: dict[str, tuple[Change, ...]] = {
    ".json": JSON,
    ".jsonl": (*TEXT, *JSON[:3]),
    ".csv": TEXT,
    ".parquet": (change_parquet, change_parquet, *BYTES),
}


def _change(random: Random, files: Files, others: Sequence[Files]) -> Files:
    name = random.choice(list(files))
    changed: Entry = files[name]
    if random.random() < 0.05:
        changed = random.choice((Fifo(), Folder(), Link("/dev/zero"), Link("nowhere"), b""))
    else:
        ending = name[name.rindex(".") :]
        same = [one for file, one in files.items() if file.endswith(ending)]
        for _ in range(random.choice((1, 1, 1, 2, 4))):
            try:
                changed = random.choice(_CHANGES[ending])(random, changed, same)
            except (ValueError, TypeError, RecursionError, OSError, pa.ArrowException):
                break  # cannot be parsed after an earlier change
    return files | {name: changed}


def _read(folder: Path) -> None:
    """Creates every section that needs no data, without its error handling, and tables."""
    runs = finished.read_all(sorted(folder.glob("run*")))
    with pytest.MonkeyPatch.context() as patch:
        # The slowest part.
        patch.setattr(curves, "draw", lambda found, words: f"<svg>{len(found)}</svg>")
        made = [make(runs) for make in report.OF_ALL]
        made += [make(run) for run in runs for make in report.OF_EACH]
    # Printed texts are data; only the template is code.
    shown = [block for section in made if section for block in section.blocks]
    texts = [
        one for block in shown if isinstance(block, Table) for row in block.rows for one in row
    ]
    texts += [report.title(runs), *(block.text for block in shown if isinstance(block, Text))]
    if not all(isinstance(text, str) for text in texts):
        raise Wrong(f"no text: {texts}"[:300])
    results.show_all(results.summarize(folder, calibration=True, intervals=True))


KINDS = [Kind("pages", 4, _make, _change, _read)]
