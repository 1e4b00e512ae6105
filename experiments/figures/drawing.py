"""Plots of a table of results."""

import hashlib
import pathlib
import re

from experiments.figures import classes, plots
from experiments.figures.papers import published
from experiments.figures.result_table import AVERAGE, Key, ResultTable, Row
from experiments.record.runs import SOURCE_PROTOCOLS

MOST_BYTES = 180  # of a file name; file systems allow 255, with suffix and ".unfinished"

# Names of the axes as in Figure 8 of ProMPT.
_AXES = {
    "iterations": "number of iterations N",
    "vision_prompts": "number of vision prompts a",
    "context_length": "number of text prompts b",
    "vision_depth": "layers with vision prompts J",
    "loss_decay": "loss weighting factor λ",
}


def draw(table: ResultTable, out: pathlib.Path, title: str) -> list[pathlib.Path]:
    """Draws bars; curves over shots or the values of an ablation; iterations.

    Args:
        table: the results.
        out: an existing directory.
        title: of the table.

    Returns:
        the PNG and SVG files.
    """
    stem = _stem(table)
    sections = table.sections()
    # The average alone; the data sets only where no row has an average.
    if table.protocol != "few_shot" and sections[0][0] == AVERAGE:
        sections = sections[:1]
    paths = []
    for name, columns in sections:
        rows = [row for row in table.rows if _shows(row, columns)]
        if not rows:
            continue
        path = out / f"{file_name(stem, name if name != table.data else '')}.png"
        heading = f"{title}: {name}" if name and name != table.data else title
        numbered = [row for row in rows if published.number(row.variant) is not None]
        if table.protocol == "few_shot":
            paths += _over_shots(path, table, rows, columns, heading)
        elif table.ablation and numbered:
            paths += _over_values(path, table.ablation, numbered, columns, heading)
        else:
            paths += _bars(path, table, rows, columns, heading)
        if not table.ablation and name == sections[0][0]:
            paths += _iterations(path, table, rows, columns, heading)
    return paths


def _stem(table: ResultTable) -> str:
    """Returns the common start of a table's file names."""
    backbone = table.backbone.rstrip("/").split("/")[-2:]
    shots = "" if table.shots is None else f"{table.shots}shots"
    parts = [table.protocol, table.ablation, *backbone, table.backbone_hash[:8], table.data]
    return file_name(*parts, table.trained_by, shots)


def file_name(*parts: str) -> str:
    """Returns a file stem from texts, short and with characters that every file system allows."""
    name = re.sub(r"[^\w.]+", "-", "-".join(part for part in parts if part)).strip("-")
    if len(name.encode()) <= MOST_BYTES:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name.encode()[:MOST_BYTES].decode('utf-8', 'ignore')}-{digest}"


def draw_confusions(table: ResultTable, out: pathlib.Path, title: str) -> list[pathlib.Path]:
    """Draws the confusion matrix of each row and test set; with several shots, of the most.

    Args:
        table: the results; rows without recorded confusions are left out.
        out: an existing directory.
        title: of the table.

    Returns:
        the PNG and SVG files.
    """
    paths: list[pathlib.Path] = []
    found = classes.counted(table)
    for one in found:
        same = [o for o in found if o.row is one.row and o[1:3] == one[1:3]]
        if one.shots < max(other.shots for other in same):
            continue
        grid = classes.worst(one.total)
        place = one.dataset if one.dataset != table.data else ""
        shots = f"{one.shots} shots" if table.protocol == "few_shot" else ""
        part = "" if one.part == "test" else one.part
        ending = ("confusion", one.row.label, shots.replace(" ", ""), place, part)
        heading = ", ".join(word for word in (title, place, part, shots) if word)
        seeds = f", mean of {len(one.seeds)} seeds" if len(one.seeds) > 1 else ""
        heading += f": {one.row.label}, the worst {len(grid.rows)} of {grid.classes} classes{seeds}"
        paths += plots.plot_confusion(
            out / f"{file_name(_stem(table), *ending)}.png", grid, heading
        )
    return paths


def _shows(row: Row, columns: dict[str, Key]) -> bool:
    return any(key in row.cells for key in columns.values())


def _bars(
    path: pathlib.Path, table: ResultTable, rows: list[Row], columns: dict[str, Key], title: str
) -> list[pathlib.Path]:
    if table.protocol in SOURCE_PROTOCOLS and AVERAGE in columns:
        names = {f"source: {table.data}": table.data, "average of the targets": AVERAGE}
        ends = {header: (name, "accuracy") for header, name in names.items()}
        columns = ends if any(_shows(row, ends) for row in rows) else columns
    bars: dict[str, dict[str, plots.Bar]] = {}
    for row in rows:
        cells = {header: row.cells[key] for header, key in columns.items() if key in row.cells}
        bars[row.label] = {
            header: (c.mean, c.deviation, c.published.value if c.published else None)
            for header, c in cells.items()
        }
    return plots.plot_bars(path, bars, title)


def _over_shots(
    path: pathlib.Path, table: ResultTable, rows: list[Row], columns: dict[str, Key], title: str
) -> list[pathlib.Path]:
    curves = {}
    for row in rows:
        cells = {key: row.cells[key] for key in columns.values() if key in row.cells}
        curves[row.label] = [
            (float(table.shots_of(int(asked), name)[1]), cell.mean, cell.deviation)
            for (name, asked), cell in cells.items()
        ]
    return plots.plot_curves(path, curves, {}, "training images per class", title)


def _over_values(
    path: pathlib.Path, ablation: str, rows: list[Row], columns: dict[str, Key], title: str
) -> list[pathlib.Path]:
    curves: dict[str, list[plots.Point]] = {}
    printed: dict[str, list[tuple[float, float]]] = {}
    several = len({(row.method, row.settings) for row in rows}) > 1
    for row in rows:
        value = published.number(row.variant) or 0.0
        belongs = f", {row.method} {row.settings}".rstrip() if several else ""
        for header, key in columns.items():
            if key in row.cells:
                cell = row.cells[key]
                curves.setdefault(header + belongs, []).append((value, cell.mean, cell.deviation))
                if cell.published:
                    point = (value, cell.published.value)
                    printed.setdefault(header + belongs, []).append(point)
    return plots.plot_curves(path, curves, printed, _AXES.get(ablation, ablation), title)


def _iterations(
    path: pathlib.Path, table: ResultTable, rows: list[Row], columns: dict[str, Key], title: str
) -> list[pathlib.Path]:
    """Draws a figure for each row whose method iterates, with the other methods as lines."""
    panels = {header: key for header, key in columns.items() if key[1] != "h"}
    if table.protocol == "few_shot":
        panels = dict(list(panels.items())[-1:])
    elif table.protocol in SOURCE_PROTOCOLS:
        wanted = (table.data, AVERAGE) if AVERAGE in panels else list(panels)[:2]
        panels = {header: key for header, key in panels.items() if header in wanted}
    curves = {
        row.label: {header: row.iterations(key, table.averaged) for header, key in panels.items()}
        for row in rows
    }
    flat = {
        row.label: {header: row.cells[key].mean for header, key in panels.items()}
        for row in rows
        if all(key in row.cells for key in panels.values()) and not _iterates(curves[row.label])
    }
    paths = []
    for label, halves in curves.items():
        if _iterates(halves):
            place = path.with_name(f"{file_name(path.stem, 'iterations', label)}.png")
            paths += plots.plot_iterations(place, halves, flat, title, label)
    return paths


def _iterates(halves: dict[str, list[list[float]]]) -> bool:
    return all(seeds and len(seeds[0]) > 1 for seeds in halves.values())
