"""The benchmark's command, cells and report; test_conventional compares both sides."""

import importlib.util
import json
import multiprocessing
import re
import subprocess
import sys

import numpy as np
import pytest
import tiny

from data_pipelines.scenes import CLASSES
from experiments.benchmark import __main__ as command
from experiments.benchmark import cells, growth, measure, report
from experiments.benchmark.cells import Cell
from experiments.benchmark.worker import Skipped, Worker, peak_memory
from experiments.cli import command_line
from prompt_jax.errors import PromptError


def side(each, **more):
    """Returns a side's entry in the JSON file."""
    measured = {"seconds": [each, each, 2 * each], "seconds_in_row": [each]}
    return measured | {"memory_bytes": 2**30} | more


def make_record(*rows):
    """Returns a record of given measurements: (cell, our seconds, the counterpart's or None)."""
    device = {"platform": "cpu", "name": "cpu", "cores": 2, "load": 0.1}
    record = {
        "device": device | {"peak_flops": {"float32": 1e11}},
        "versions": {"jax": "0"},
        "commit": "abc",
        "date": "2026-01-01",
        "cells": [],
        "left_out": [],
        "finished": True,
    }
    for cell, ours, theirs in rows:
        found = {"ours": side(ours, flops=1e9, compile_seconds=1.0)}
        if theirs is not None:
            found["counterpart"] = side(theirs)
        record["cells"].append(measure.summarize(cell, found, 1e11))
    return record


@pytest.mark.slow
def test_the_command_measures_both_sides_and_writes_all_files(tmp_path, torch):
    words = ["method=coop", "backbone=embedded", "K=3", "batch=2", "phase=train", "part=text"]
    arguments = ["-m", "experiments.benchmark", "--repeats=2", f"--workdir={tmp_path}"]
    process = tiny.command(*arguments, "--only", *words)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    record = json.loads((tmp_path / "benchmark.json").read_text())
    (cell,) = record["cells"]
    assert record["finished"] and not record["left_out"]
    assert (cell["method"], cell["K"], cell["batch"], cell["part"]) == ("coop", 3, 2, "text")
    for name in ("ours", "counterpart"):
        assert len(cell[name]["seconds"]) == 2 and len(cell[name]["seconds_in_row"]) == 1
        assert cell[name]["memory_bytes"] > 2**20
    assert cell["ratio"]["lowest"] <= cell["ratio"]["median"] <= cell["ratio"]["highest"]
    assert cell["ours"]["flops"] > 0 and 0 < cell["ours"]["share_of_peak"] < 1
    assert cell["ours"]["compile_seconds"] > 0
    assert {"python", "jax", "torch"} <= record["versions"].keys()
    assert "coop" in output and "| coop" in (tmp_path / "benchmark.md").read_text()


@pytest.mark.slow
def test_parallel_runs_are_compared_with_sequential_ones(tmp_path):
    words = ["method=coop", "backbone=embedded", "K=3", "batch=2", "part=text", "runs=2"]
    command.main(
        ["--ours-only", "--repeats=2", "--memory-gb=1", f"--workdir={tmp_path}", "--only", *words,
         "phase=train"]
    )  # fmt: skip
    (cell,) = json.loads((tmp_path / "benchmark.json").read_text())["cells"]
    assert cell["runs"] == 2 and len(cell["ratio"]["repeats"]) == 2
    assert cell["ours"]["flops"] == pytest.approx(cell["counterpart"]["flops"], rel=0.05)
    assert cell["ours"]["images_per_second"] == 4 / cell["ours"]["median_seconds"]
    text = (tmp_path / "benchmark.md").read_text()
    assert "2 runs in one program, and in turn" in text and "| in turn /s |" in text


@pytest.mark.slow
def test_both_sides_evaluate_in_bfloat16(tmp_path, torch):
    words = ["method=cocoop,pro_mpt", "backbone=embedded", "K=3", "batch=2", "phase=evaluate"]
    command.main(["--repeats=1", f"--workdir={tmp_path}", "--only", *words, "dtype=bfloat16"])
    record = json.loads((tmp_path / "benchmark.json").read_text())
    assert not record["left_out"] and len(record["cells"]) == 2
    for cell in record["cells"]:
        assert cell["ours"]["xla_flops"] > 0 and cell["counterpart"]["images_per_second"] > 0


@pytest.mark.slow
def test_videos_with_captions_are_measured_on_both_sides(tmp_path, torch):
    words = ["method=vop", "backbone=embedded", "batch=2", "phase=train", "part=all,text"]
    command.main(["--repeats=1", f"--workdir={tmp_path}", "--only", *words])
    record = json.loads((tmp_path / "benchmark.json").read_text())
    whole, text = record["cells"]
    assert not record["left_out"] and (whole["part"], text["part"]) == ("all", "text")
    assert whole["ours"]["flops"] > 10 * text["ours"]["flops"]
    assert whole["counterpart"]["images_per_second"] > 0
    page = (tmp_path / "benchmark.md").read_text()
    assert re.search(r"\| vop +\| +– +\| +2 \|", page)


@pytest.mark.slow
def test_videos_with_classes_are_measured_on_both_sides(tmp_path, torch):
    words = ["method=vilt_clip", "backbone=embedded", "K=3", "batch=2", "phase=train"]
    command.main(["--repeats=1", f"--workdir={tmp_path}", "--only", *words, "part=all,text"])
    record = json.loads((tmp_path / "benchmark.json").read_text())
    whole, text = record["cells"]
    assert not record["left_out"] and (whole["part"], text["part"]) == ("all", "text")
    assert whole["ours"]["flops"] > 10 * text["ours"]["flops"]
    assert whole["counterpart"]["images_per_second"] > 0


def test_a_process_counts_only_its_own_memory():
    """Tests that the memory of the parent process is not included."""
    ballast = np.ones(2**29, np.uint8)
    code = "from experiments.benchmark.worker import peak_memory; print(peak_memory())"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    assert peak_memory() >= ballast.size > 2 * int(output) > 2**20


def test_an_earlier_benchmark_is_not_overwritten(tmp_path):
    (tmp_path / "benchmark.json").write_text("{}")
    with pytest.raises(PromptError, match="is not a benchmark's JSON file"):
        command.main(["--short", f"--workdir={tmp_path}"])
    assert (tmp_path / "benchmark.json").read_text() == "{}"


@pytest.mark.slow
def test_gpu_cells_are_rejected_on_a_cpu(tmp_path):
    with pytest.raises(PromptError, match="--gpu: JAX finds only a CPU"):
        command.main(["--gpu", f"--workdir={tmp_path}"])


def test_a_failure_is_recorded_for_its_side_only(tmp_path):
    """Tests a failure of our side while the counterpart is running."""

    class Ended:
        def ask(self, *question):
            raise Skipped("too large", "ours")

    class Fine:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def ask(self, *question):
            return ({"first_seconds": 1.0}, None)

    cell, record, left = Cell("coop", "embedded", 3), make_record(), []
    arguments = ({"first_seconds": 1.0}, Fine, cell, measure.Options(), record, left.append)
    with pytest.raises(Skipped, match="too large"):
        measure.measure_sides(Ended(), *arguments)  # type: ignore[arg-type]
    assert not left


def test_without_pytorch_only_this_library_is_measured_with_a_note(monkeypatch, tmp_path, capsys):
    asked = []

    def measure_all(chosen, options, file):
        asked.append(options)
        return make_record((chosen[0], 0.1, None))

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(measure, "measure_all", measure_all)
    command.main(["--only", "method=coop", "K=10", f"--workdir={tmp_path}"])
    assert not asked[0].counterpart
    assert "only this library is measured: .venv/bin/pip install" in capsys.readouterr().out


def test_a_curve_contains_cells_that_differ_in_one_setting_only(tmp_path):
    rows = [(Cell("pro_mpt", "embedded", number), number, 9 * number) for number in (10, 100)]
    rows += [(Cell("pro_mpt", "embedded", 10, N=1), 5, None), (Cell("coop", "embedded", 10), 1, 2)]
    rows += [(Cell("coop", "embedded", 100, runs=3), 1, 2)]  # not a point of coop's curve over K
    record = make_record(*rows)
    file = tmp_path / "benchmark.json"
    file.write_text(json.dumps(record))
    command.main(["--draw", str(file)])
    stem = "growth-embedded-train-all-float32"
    assert sorted(p.name for p in tmp_path.glob("growth*")) == [f"{stem}.png", f"{stem}.svg"]
    image = (tmp_path / f"{stem}.svg").read_text()
    assert "classes K" in image and "iterations N" in image and ">batch<" not in image
    over_classes = growth.curves(record["cells"], "K")
    assert over_classes["ours"] == [("pro_mpt (batch=4, N=2)", [10, 100], [2.5, 25.0])]
    assert over_classes["counterpart"][0][2] == pytest.approx([22.5, 225])
    assert (tmp_path / "benchmark.md").is_file()


def test_ratios_are_computed_per_repeat():
    found = {
        "ours": side(1.0, seconds=[1.0, 2.0, 4.0], seconds_in_row=[0.5, 3.0, 0.5], flops=1e9),
        "counterpart": side(10.0, seconds=[10.0, 10.0, 10.0], seconds_in_row=[9.0, 7.0, 8.0]),
    }
    cell = measure.summarize(Cell("pro_mpt", "embedded", 10, phase="evaluate"), found, 1e9)
    assert cell["ratio"]["repeats"] == [10.0, 5.0, 2.5] and cell["ratio"]["in_row"] == 16.0
    assert cell["ours"]["images_per_second"] == 4 * cells.EVALUATION_BATCHES / 2.0
    assert cell["ours"]["share_of_peak"] == 0.5


def test_cells_that_would_take_too_long_are_skipped_by_a_smaller_cell():
    record = make_record((Cell("cocoop", "ViT-B/16", 10), 1.0, 15.0))
    larger = Cell("cocoop", "ViT-B/16", 100)
    assert measure.skip_reason(record, larger, "ours", 120) == ""
    reason = measure.skip_reason(record, larger, "counterpart", 120)
    assert reason.startswith("would take about 150 s a run by cocoop ViT-B/16 K=10")
    assert measure.skip_reason(record, Cell("coop", "ViT-B/16", 100), "counterpart", 120) == ""


def test_larger_cells_than_a_skipped_one_are_skipped_too():
    record = make_record()
    measure.record_skip(record, Cell("cocoop", "ViT-B/16", 50), "counterpart", "no memory")
    larger, smaller = Cell("cocoop", "ViT-B/16", 100), Cell("cocoop", "ViT-B/16", 10)
    assert measure.skip_reason(record, larger, "counterpart", 120).endswith("no memory")
    assert measure.skip_reason(record, larger, "ours", 120) == ""
    assert measure.skip_reason(record, smaller, "counterpart", 120) == ""
    assert report.describe_skipped(record)[0].startswith("cocoop ViT-B/16 K=50 batch=4 train")


def test_a_side_that_takes_too_long_is_ended():
    with (
        Worker("device", 0.0, ["float32"]) as worker,
        pytest.raises(Skipped, match="stopped after"),
    ):
        worker.ask()
    assert not multiprocessing.active_children()


def test_the_best_batch_of_each_side_is_compared():
    rows = [(Cell("cocoop", "ViT-B/16", 100, batch), 0.1, seconds) for batch, seconds in
            ((4, 1.0), (16, 8.0))]  # fmt: skip
    (row,) = report.sections(make_record(*rows))["best batch of each side"]
    assert row[2] == "16 | 4" and row[5] == "40"


def test_a_busy_machine_is_reported():
    record = make_record((Cell("coop", "embedded", 10), 1, 2))
    assert "busy" not in report.conditions(record)
    record["device"]["load"] = 2.0
    assert "busy (load 2.0 at the start)" in report.conditions(record)
    alone = make_record((Cell("coop", "embedded", 10), 1, None))
    alone["device"]["load"] = 2.0
    assert "busy" not in report.conditions(alone)


def test_a_stopped_benchmark_is_marked_as_incomplete(tmp_path, capsys):
    record = make_record((Cell("coop", "embedded", 10), 1, 2)) | {"finished": False}
    (tmp_path / "benchmark.json").write_text(json.dumps(record))
    drawn = tmp_path / "drawn"
    command.main(["--draw", str(tmp_path / "benchmark.json"), f"--workdir={drawn}"])
    assert "stopped early" in (drawn / "benchmark.md").read_text()
    assert f"written to {drawn}" in capsys.readouterr().out


def test_cells_that_would_end_too_late_are_skipped(monkeypatch, tmp_path):
    clock = iter(range(0, 10_000, 25))
    monkeypatch.setattr(measure.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(measure.Worker, "__init__", lambda *_: None)
    monkeypatch.setattr(measure.Worker, "__exit__", lambda *_: None)
    monkeypatch.setattr(measure.Worker, "ask", lambda _: {"platform": "cpu", "name": "cpu"})
    measured = []
    monkeypatch.setattr(measure, "measure_cell", lambda cell, *_: measured.append(cell))
    chosen = [Cell("coop", "embedded", number) for number in (10, 50, 100, 1000)]
    options = measure.Options(minutes=2)
    record = measure.measure_all(chosen, options, tmp_path / "benchmark.json")
    assert 0 < len(measured) < 4
    assert len(measured) + len(record["left_out"]) == 4
    assert json.loads((tmp_path / "benchmark.json").read_text()) == record
    assert "no time left: --minutes=2" in report.describe_skipped(record)[-1]


def test_each_form_has_the_documented_cells():
    full = cells.full()
    grid = {(c.method, c.backbone, c.K, c.phase) for c in full if c.batch == 4 and c.N < 3}
    assert len(grid) == 4 * 3 * 4 * 2 + 2
    assert {cell for cell in full if cell.pairs} == {
        cell for name in ("embedded", "ViT-B/32") for cell in cells.captioned_videos(name)
    }
    assert {cell for cell in full if cell.frames and not cell.pairs} == {
        cells.recognized_actions(name) for name in ("embedded", "ViT-B/16")
    }
    assert all(c.backbone == "embedded" for c in cells.short())
    gpu = {(c.method, c.K) for c in cells.gpu()}
    assert gpu >= {(name, number) for name in ("pro_mpt", "cocoop") for number in (10, 100, 1000)}
    assert {name for name, _ in gpu} == set(cells.METHODS)
    assert {c.dtype for c in cells.gpu()} == {"bfloat16"}


def test_a_selection_makes_one_figure():
    words = ["method=pro_mpt", "backbone=ViT-B/16", "K=50", "batch=4", "phase=train", "part=text"]
    assert cells.only(words) == [Cell("pro_mpt", "ViT-B/16", 50, part="text")]
    assert [cell.K for cell in cells.only([*words[:2], "phase=train"])] == [10, 50, 100, 1000]
    words = ["method=vop", "backbone=ViT-B/32", "phase=train", "batch=4,32"]
    assert cells.only(words) == [Cell("vop", "ViT-B/32", 1, batch) for batch in (4, 32)]


@pytest.mark.parametrize(
    "words, message",
    [
        (["methods=coop"], "unknown key of --only 'methods'. Did you mean 'method'"),
        (["method=cocop"], "unknown method in --only 'cocop'. Did you mean 'cocoop'"),
        (["K"], "must be KEY=VALUE"),
        (["K=many"], "K=many: must be a whole number"),
        (["K=2000"], "K=2000 must be from 2 to 1000"),
        (["runs=3", "phase=evaluate"], "runs=3 needs phase=train"),
        (["method=vop", "phase=evaluate"], "method=vop needs phase=train and runs=1"),
        (["method=vop", "phase=train", "runs=2"], "method=vop needs phase=train and runs=1"),
        (["method=vilt_clip", "phase=evaluate"], "method=vilt_clip needs phase=train and runs=1"),
    ],
)
def test_an_invalid_selection_lists_the_allowed_values(words, message):
    with pytest.raises(PromptError, match=message.replace("=", "[=]")):
        cells.only(words)


@pytest.mark.parametrize(
    "words, message",
    [
        (["--draw=/no/such.json"], "cannot be read: No such file"),
        (["--repeats=0"], "--repeats=0 must be above 0"),
        (
            ["--short", "--workdir=/dev/null/x"],
            "--workdir=/dev/null/x cannot be created: Not a dir",
        ),
        (["--memory-gb=-1"], "--memory-gb=-1.0 must be a number, 0 or more"),
    ],
)
def test_user_errors_are_one_line(words, message, capsys):
    assert command_line.explain(command.main, words) == command_line.USAGE_ERROR
    assert message in capsys.readouterr().err


def test_class_names_are_different_and_of_one_to_four_words():
    names = cells.class_names(1000, CLASSES)
    assert len(set(names)) == 1000
    assert {len(name.split()) for name in names} == {1, 2, 3, 4}
    assert cells.class_names(10, CLASSES) == names[:10]


def test_captions_are_different_and_of_8_to_20_words():
    texts = cells.captions(32, CLASSES)
    lengths = [len(text.split()) for text in texts]
    assert len(set(texts)) == 32 and lengths == sorted(lengths)
    assert (lengths[0], lengths[-1], sum(lengths) / 32) == (8, 20, pytest.approx(14, abs=0.5))
    assert [len(text.split()) for text in cells.captions(1, CLASSES)] == [8]
