"""Damaged or malicious files of a run are reported and left out, and the rest is shown."""

import io
import json
import resource
from pathlib import Path

import pytest
import run_files
from damages import COUNTS, DAMAGED, FILES, METRICS, PARQUET, RANKS, REFUSED, RESULTS, SEARCHED
from run_files import change_results

from experiments import results
from experiments.cli.command_line import explain
from experiments.record import log
from experiments.record.files import reading_predictions, csv_files
from experiments.report import __main__ as report


@pytest.fixture(autouse=True)
def _bounded():
    """Limits memory: more than two gigabytes above the present use is an error."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + 2 * 2**30, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits)


def page_of(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """Returns the page of a run, and what is printed on stderr."""
    out = folder.parent / "page.html"
    assert explain(report.start, [str(folder), "--out", str(out)]) == 0, capsys.readouterr().err
    return out.read_text(encoding="utf-8"), capsys.readouterr().err


def test_generated_runs_are_valid(tmp_path, capsys):
    for make, words in (
        (
            run_files.write_classification_run,
            ("Mistakes", "Iterations", "Training", "a note", "95\xa0% interval"),
        ),
        (run_files.write_retrieval_run, ("Captions", "a dog", "Training")),
    ):
        folder = make(tmp_path)
        text, errors = page_of(folder, capsys)
        assert not errors and "Damaged files" not in text
        assert all(word in text for word in words)


@pytest.mark.parametrize("case", [*DAMAGED, *FILES])
def test_damaged_files_are_reported_and_the_rest_is_drawn(tmp_path, capsys, case):
    name, damage, words = (DAMAGED | FILES)[case]
    folder = run_files.write_classification_run(tmp_path)
    damage(folder / name)
    text, errors = page_of(folder, capsys)
    assert "Damaged files" in text and "50.00" in text
    assert str(folder / name) in errors and words in errors and "Traceback" not in errors
    assert all(each.startswith("note: ") for each in errors.splitlines())
    for part, made_of in (("Iterations", PARQUET), ("Mistakes", COUNTS), ("Training", METRICS)):
        assert (f">{part}</a>" in text) or made_of == name


@pytest.mark.parametrize("case", SEARCHED)
def test_damaged_ranks_are_reported_too(tmp_path, capsys, case):
    name, damage, words = SEARCHED[case]
    folder = run_files.write_retrieval_run(tmp_path)
    damage(folder / name)
    text, errors = page_of(folder, capsys)
    assert str(folder / name) in errors and words in errors and "Damaged files" in text
    assert "75.00" in text and (">Captions</a>" in text or name == RANKS)


@pytest.mark.parametrize("case", REFUSED)
def test_a_run_without_its_figures_is_rejected_in_one_line(tmp_path, capsys, case):
    damage, words = REFUSED[case]
    folder, whole = run_files.write_classification_run(tmp_path), run_files.write_classification_run(tmp_path)
    damage(folder / RESULTS)
    assert explain(report.start, [str(folder)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and str(folder / RESULTS) in error and words in error
    # Beside another run it is left out.
    text, errors = "", ""
    out = tmp_path / "page.html"
    assert explain(report.start, [str(whole), str(folder), "--out", str(out)]) == 0
    text, errors = out.read_text(encoding="utf-8"), capsys.readouterr().err
    assert "50.00" in text and f"note: left out: {folder / RESULTS}" in errors and words in errors
    # So do tables.
    assert explain(results.start, [str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "pro_mpt" in printed
    assert f"{folder / RESULTS} is left out" in printed or case == "dangling"


@pytest.mark.parametrize("case", [one for one in DAMAGED if DAMAGED[one][0] in (COUNTS, RESULTS)])
def test_tables_report_damaged_files_and_count_the_rest(tmp_path, capsys, case):
    name, damage, words = DAMAGED[case]
    folder = run_files.write_classification_run(tmp_path)
    damage(folder / name)
    assert explain(results.start, [str(tmp_path), "--intervals", "--calibration"]) == 0
    printed = capsys.readouterr().out
    assert str(folder / name) in printed and words in printed and "50.00" in printed


def test_limits_are_enforced(tmp_path, monkeypatch):
    folder = run_files.write_classification_run(tmp_path)
    monkeypatch.setattr(reading_predictions, "MOST_ROWS", 3)
    with pytest.raises(ValueError, match="4 rows; at most 3 are read"):
        reading_predictions.read(folder / PARQUET, 4)
    monkeypatch.undo()
    monkeypatch.setattr(reading_predictions, "MOST_TEXT", 10)
    with pytest.raises(ValueError, match="its texts take more than 10 bytes"):
        reading_predictions.read(folder / PARQUET, 4)
    monkeypatch.setattr(csv_files, "MOST_LINES", 3)
    with pytest.raises(ValueError, match="it has more than 3 lines"):
        list(csv_files.read(folder / COUNTS, ["class", "predicted", "count"]))
    monkeypatch.setattr(log, "MOST_LINES", 3)
    with pytest.raises(ValueError, match="it has more than 3 lines"):
        log.read(folder / METRICS)


def test_files_of_earlier_versions_open(tmp_path, capsys):
    """They lack predictions, counts, intervals, calibration, hashes of tests and notes."""
    folder = run_files.write_classification_run(tmp_path, iterations=1)
    for name in (PARQUET, COUNTS, METRICS):
        (folder / name).unlink()
    gone = ("interval", "calibration_error", "zero_shot_calibration_error", "confidence", "top5",
            "data_notes", "train_seconds", "trainable_parameters", "features", "split_source",
            "ablation", "variant")  # fmt: skip
    change_results(folder, **dict.fromkeys(gone, ...))
    text, errors = page_of(folder, capsys)
    assert not errors and "Damaged files" not in text and "50.00" in text


def test_two_data_sets_with_one_name_are_distinguished(tmp_path, capsys):
    birds, cars, again = (run_files.write_classification_run(tmp_path) for _ in range(3))
    hashes = json.loads((cars / RESULTS).read_text())["data_hashes"]
    own = {"config": run_files.CONFIG | {"data": {"name": "folder", "root": "/data/cars"}}}
    change_results(cars, **own, data_hashes=hashes | {"tests": {"test": "ef"}}, method="coop")
    change_results(again, seed=2)
    out = tmp_path / "page.html"
    assert explain(report.start, [*map(str, (birds, cars, again)), "--out", str(out)]) == 0
    head = out.read_text(encoding="utf-8").split("<title>")[1].split("</title>")[0]
    assert (
        head
        == "pro_mpt (seed 1), pro_mpt (seed 2) on folder in gone; coop on folder in cars"
    )
    capsys.readouterr()
    assert explain(report.start, [str(birds), str(again), "--out", str(out)]) == 0
    assert "<title>pro_mpt (seed 1), pro_mpt (seed 2) on folder</title>" in out.read_text()


def test_a_long_training_curve_is_thinned(tmp_path, capsys):
    folder = run_files.write_classification_run(tmp_path)
    file = io.StringIO()
    for step in range(5000):
        file.write(json.dumps({"step": step, "loss": 1.0}) + "\n")
    (folder / METRICS).write_text(file.getvalue())
    text, _ = page_of(folder, capsys)
    assert "Loss over steps, every 3th logged step" in text
