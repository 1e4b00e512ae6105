"""Tables report the number of training images per class if it differs from the requested shots."""

import json

import numpy as np
import pytest
from result_trees import only_table, put, read_csv

from experiments import results
from experiments.figures import drawing, plots, tables, wording

FEW_SHOT = {
    "protocol": "few_shot",
    "accuracy": {"test": 50.0},
    "zero_shot": {"test": 40.0},
    "per_iteration": {},
}


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ((16, 16, 16), "16 shots"),
        ((1, 1, 1), "1 shot"),
        ((500, 16, 16), "16 shots (500 asked for)"),
        ((500, 9, 16), "9 to 16 shots (500 asked for)"),
        ((16, 0, 1), "0 to 1 shots (16 asked for)"),
    ],
)
def test_shots_as_text(numbers, text):
    assert tables.count_shots(*numbers) == text


def test_a_run_s_table_has_the_actual_shots(tmp_path, capsys):
    written = json.loads(put(tmp_path, shots=500, shots_per_class=[9, 16]).read_text())
    tables.print_run(written | {"skipped_pictures": []})
    assert "coop on caltech101, 9 to 16 shots (500 asked for), seed 1" in capsys.readouterr().out
    # Files of versions that did not record it.
    del written["shots_per_class"]
    tables.print_run(written | {"skipped_pictures": []})
    assert "coop on caltech101, 500 shots, seed 1" in capsys.readouterr().out


def test_a_title_has_the_most_shots_of_any_class_and_a_caution_the_rest(tmp_path, capsys):
    put(tmp_path, dataset="csv", shots=500, shots_per_class=[9, 16])
    put(tmp_path, dataset="csv", shots=500, shots_per_class=[8, 15], seed=2)
    table = only_table(tmp_path)
    assert wording.title(table).startswith("base_to_novel, 16 shots (500 asked for), backbone")
    caution = "csv: trained on 8 to 16 shots (500 asked for); no more were listed or could be read."
    assert caution in wording.remarks_on(table)
    results.show(table)
    printed = " ".join(capsys.readouterr().out.split())
    assert "16 shots (500 asked for)" in printed and f"note: {caution}" in printed
    (row,) = [
        row for row in read_csv_of(tmp_path) if row["metric"] == "h" and row["n_seeds"] == "2"
    ]
    assert (row["shots"], row["shots_least"], row["shots_most"]) == ("500", "8", "16")


def read_csv_of(folder):
    paths = results.write(folder)
    found = [row for path in paths if path.suffix == ".csv" for row in read_csv(path)]
    return [row for row in found if row["method"] == "coop"]


def cautions_on_shots(table):
    return [line for line in wording.cautions(table) if "trained on" in line]


def test_sufficient_shots_are_printed_as_before(tmp_path):
    put(tmp_path, shots_per_class=[16, 16])
    put(tmp_path, dataset="dtd")  # of versions that did not record it
    table = only_table(tmp_path)
    assert ", 16 shots, backbone" in wording.title(table) and not cautions_on_shots(table)
    put(tmp_path, dataset="eurosat", shots_per_class=[4, 4])
    table = only_table(tmp_path)
    assert ", 16 shots, backbone" in wording.title(table)
    caution = "eurosat: trained on 4 shots (16 asked for); no more were listed or could be read."
    assert cautions_on_shots(table) == [caution]
    shots = {row["dataset"]: row["shots_least"] for row in read_csv_of(tmp_path)}
    assert shots == {"caltech101": "16", "dtd": "16", "eurosat": "4", "average": "4"}


def test_columns_and_curves_over_shots_use_the_actual_shots(tmp_path, monkeypatch):
    put(tmp_path, **FEW_SHOT, dataset="csv", shots=4, shots_per_class=[4, 4])
    put(tmp_path, **FEW_SHOT, dataset="csv", shots=500, shots_per_class=[2, 16])
    put(tmp_path, **FEW_SHOT, dataset="dtd", shots=4)
    put(tmp_path, **FEW_SHOT, dataset="dtd", shots=500, shots_per_class=[500, 500])
    table = only_table(tmp_path)
    headers = {name: list(columns) for name, columns in table.sections()}
    assert headers == {
        "average": ["4 shots", "500 shots"],
        "csv": ["4 shots", "16 shots (500 asked for)"],
        "dtd": ["4 shots", "500 shots"],
    }
    drawn = []
    monkeypatch.setattr(
        plots, "plot_curves", lambda path, curves, *rest: drawn.append(curves) or []
    )
    monkeypatch.setattr(plots, "plot_iterations", lambda *arguments: [])
    drawing.draw(table, tmp_path, "a title")
    numbers = [[point[0] for point in curves["coop"]] for curves in drawn]
    np.testing.assert_array_equal(numbers, [[4, 500], [4, 500], [4, 16]])  # average, dtd, csv


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("shots_per_class", value) for value in ([3], [4, 3], ["1", "2"], 5)),
        ("features", {"cached": 1}),
        ("shots", True),
        ("split_source", 3),
        ("split_sources", {"caltech101": {}}),
        ("accuracy", {"base": 10**400, "new": 60.0}),
        ("per_iteration", {"base": [101.0], "new": [60.0]}),
        ("chosen", {"values": {"alpha": "large"}}),
    ],
)
def test_an_invalid_field_excludes_the_file(tmp_path, field, value):
    put(tmp_path, dataset="dtd")
    put(tmp_path, **{field: value})
    (_,), _, (problem,) = results.summarize(tmp_path)
    assert "is left out, because it is not the result of a run: " in problem


@pytest.mark.parametrize("method", ["zero_shot", "description", "fudd", "perception_clip"])
def test_methods_that_train_nothing_have_no_shots(tmp_path, capsys, method):
    file = put(tmp_path, method=method, shots=500, shots_per_class=[9, 16])
    assert not cautions_on_shots(only_table(tmp_path))
    tables.print_run(json.loads(file.read_text()) | {"skipped_pictures": []})
    assert f"{method} on caltech101, seed 1" in capsys.readouterr().out
