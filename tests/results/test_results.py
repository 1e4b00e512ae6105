"""Averages of many runs, on generated results.json files with known answers."""

import dataclasses
import os
import statistics

import pytest
from result_trees import ELEVEN, only_table, put, read_csv, row

from experiments import results
from experiments.cli.command_line import explain
from experiments.figures import wording
from experiments.record import runs
from prompt_jax import methods
from prompt_jax.errors import PromptError
from prompt_jax.evaluation import reliability
from prompt_jax.evaluation.metrics import harmonic_mean


def test_seeds_are_averaged_and_h_is_that_of_the_averages(tmp_path):
    for seed, base, new in ((1, 80.0, 60.0), (2, 82.0, 64.0), (3, 87.0, 59.0)):
        put(tmp_path, seed=seed, accuracy={"base": base, "new": new})
    cells = row(only_table(tmp_path), "coop").cells
    base, h = cells["caltech101", "base"], cells["caltech101", "h"]
    assert base.mean == pytest.approx(83.0)
    assert base.deviation == pytest.approx(statistics.stdev([80, 82, 87]))
    assert base.seeds == 3
    assert h.mean == pytest.approx(harmonic_mean(83.0, 61.0))
    each = [harmonic_mean(*pair) for pair in ((80, 60), (82, 64), (87, 59))]
    assert h.deviation == pytest.approx(statistics.stdev(each))
    assert h.mean != pytest.approx(statistics.fmean(each), abs=1e-3)


def test_intervals_and_calibration_are_shown_on_request(tmp_path, capsys):
    errors = {"base": 4.0, "new": 12.0}
    for seed, base in ((1, 70.0), (2, 90.0)):
        accuracy = {"base": base, "new": 60.0}
        one = {"accuracy": accuracy, "calibration_error": errors}
        put(tmp_path, seed=seed, **one, zero_shot_calibration_error={"base": 1.0, "new": 2.0})
    results.write(tmp_path)
    assert "ECE" not in (plain := (tmp_path / "tables/base_to_novel.md").read_text())
    assert "±: the sample standard deviation over seeds." in plain
    assert "[" not in plain
    [table], _, _ = summary = results.summarize(tmp_path, calibration=True, intervals=True)
    cells = row(table, "coop").cells
    # Both seeds have the same ten test images, so the interval is not over twenty.
    assert cells["caltech101", "base"].interval == reliability.wilson(80.0, 10)
    assert cells["caltech101", "h"].interval == reliability.harmonic(80.0, 10, 60.0, 10)
    assert cells["caltech101", "new, ECE"].mean == 12.0
    assert ("caltech101", "h, ECE") not in cells
    assert row(table, "zero_shot").cells["caltech101", "new, ECE"].mean == 2.0
    results.write_tables(summary, tmp_path / "tables")
    asked = (tmp_path / "tables/base_to_novel.md").read_text()
    assert "80.00 ± 14.14 [49.0, 94.3]" in asked and "new, ECE" in asked
    [base] = [
        line
        for line in read_csv(tmp_path / "tables/base_to_novel.csv")
        if (line["method"], line["metric"]) == ("coop", "base")
    ]
    assert (base["low"], base["high"]) == ("49.0162", "94.3318")
    results.show_all(summary)
    printed = capsys.readouterr().out
    assert "ECE" in printed and "12.00" in printed and "[49.0, 94.3]" in printed
    assert "sees at test: one image (zero_shot, coop)" in printed


def test_one_seed_has_no_deviation(tmp_path):
    put(tmp_path)
    assert row(only_table(tmp_path), "coop").cells["caltech101", "new"].deviation is None


def test_the_average_is_over_data_sets_and_needs_all_of_them(tmp_path):
    put(tmp_path)
    put(tmp_path, dataset="dtd", accuracy={"base": 60.0, "new": 40.0})
    put(tmp_path, method="cocoop")
    table = only_table(tmp_path)
    average = row(table, "coop").cells
    assert average["average", "base"].mean == 70.0
    assert average["average", "h"].mean == pytest.approx(harmonic_mean(70.0, 50.0))
    assert average["average", "base"].published is None  # of two data sets
    assert ("average", "base") not in row(table, "cocoop").cells
    assert table.datasets == ["caltech101", "dtd"]


def test_an_average_over_unequal_seeds_has_no_deviation(tmp_path):
    put(tmp_path, seed=1)
    put(tmp_path, seed=2)
    put(tmp_path, dataset="dtd", seed=1)
    put(tmp_path, dataset="dtd", seed=3)
    put(tmp_path, dataset="dtd", seed=4)
    average = row(only_table(tmp_path), "coop").cells["average", "base"]
    assert average.deviation is None
    assert average.seeds == 2


def test_all_eleven_data_sets_are_compared_with_the_paper(tmp_path):
    for dataset in ELEVEN:
        put(tmp_path, method="pro_mpt", dataset=dataset)
    cells = row(only_table(tmp_path), "pro_mpt").cells
    assert cells["average", "h"].published == (77.80, "ProMPT (ICMR 2024), Table 1")
    assert cells["average", "base"].difference == pytest.approx(80.0 - 80.94)
    assert cells["eurosat", "new"].difference == pytest.approx(60.0 - 76.03)
    assert cells["caltech101", "new"].published is None  # only in a figure of the paper


def test_other_numbers_of_shots_are_not_compared(tmp_path):
    put(tmp_path, method="pro_mpt", dataset="imagenet", shots=4)
    assert row(only_table(tmp_path), "pro_mpt").cells["imagenet", "base"].published is None


def test_zero_shot_comes_from_the_runs_unless_it_has_its_own(tmp_path):
    put(tmp_path)
    put(tmp_path, method="cocoop")
    zero_shot = row(only_table(tmp_path), "zero_shot").cells["caltech101", "base"]
    assert (zero_shot.mean, zero_shot.seeds) == (70.0, 1)
    put(tmp_path, method="zero_shot", accuracy={"base": 71.0, "new": 72.0})
    zero_shot = row(only_table(tmp_path), "zero_shot").cells["caltech101", "base"]
    assert zero_shot.mean == 71.0


def test_of_two_equal_runs_the_newer_counts_and_the_older_is_named(tmp_path):
    old = put(tmp_path, accuracy={"base": 10.0, "new": 10.0})
    new = put(tmp_path, accuracy={"base": 90.0, "new": 90.0})
    os.utime(old, (1, 1))
    (table,), _, remarks = results.summarize(tmp_path)
    assert row(table, "coop").cells["caltech101", "base"].mean == 90.0
    assert len(remarks) == 1
    assert remarks[0].startswith(f"{old} is ignored: {new} is a newer run")
    assert "coop, caltech101, 16 shots, seed 1" in remarks[0]


def test_different_configs_are_different_rows(tmp_path):
    for seed, epochs, root in ((1, 50, "/a"), (2, 50, "/b"), (1, 100, "/a")):
        config = {"epochs": epochs, "seed": seed, "data": {"name": "caltech101", "root": root}}
        put(tmp_path, seed=seed, config=config)
    table = only_table(tmp_path)
    assert row(table, "coop (epochs=50)").cells["caltech101", "base"].seeds == 2
    assert row(table, "coop (epochs=100)").cells["caltech101", "base"].seeds == 1


@pytest.mark.parametrize(
    "changes, label",
    [
        ({"split_source": "80/20"}, "split_source=80/20"),
        ({"pictures": {"train": 800, "test_base": 99, "test_new": 10}}, "images of base=99"),
        ({"features": "cached: 1 fixed view"}, "features=cached: 1 fixed view"),
    ],
)
def test_different_data_are_different_rows(tmp_path, changes, label):
    put(tmp_path)
    put(tmp_path, seed=2, **changes)
    labels = [row.label for row in only_table(tmp_path).rows if row.method == "coop"]
    assert len(labels) == 2
    assert any(label in one for one in labels)


@pytest.mark.parametrize("dataset", ["csv", "caltech101"])
def test_two_lists_with_one_name_are_never_averaged(tmp_path, dataset):
    """Same numbers of images and classes, seeds 1 and 2, one seed twice: only the hash differs."""
    for seed, data_hash in ((1, "ab12cd34ef567890"), (2, "ab12cd34ef567890"), (1, "99" * 8)):
        put(tmp_path, dataset=dataset, seed=seed, data_hash=data_hash)
    table = only_table(tmp_path)
    first, second = (row(table, f"coop (data={name})") for name in ("ab12cd34", "99999999"))
    assert first.cells[dataset, "base"].seeds == 2
    assert second.cells[dataset, "base"].seeds == 1
    assert sum(row.method == "zero_shot" for row in table.rows) == 2


def test_two_lists_do_not_share_a_curve_over_shots(tmp_path):
    common = {"protocol": "few_shot", "accuracy": {"test": 50.0}, "zero_shot": {}}
    for shots, data_hash in ((1, "a" * 16), (16, "b" * 16)):
        put(tmp_path, **common, per_iteration={}, shots=shots, data_hash=data_hash)
    assert {row.label for row in only_table(tmp_path).rows} == {
        "coop (data=aaaaaaaa)",
        "coop (data=bbbbbbbb)",
    }


def test_zero_shot_on_another_list_is_not_reused(tmp_path):
    put(tmp_path, data_hash="a" * 16)
    put(tmp_path, method="zero_shot", data_hash="b" * 16)
    means = {row.label: row.cells["caltech101", "base"].mean for row in only_table(tmp_path).rows}
    assert means["zero_shot (data=aaaaaaaa)"] == 70.0
    assert means["zero_shot (data=bbbbbbbb)"] == 80.0


def test_targets_added_later_do_not_split_seeds(tmp_path):
    common = {"protocol": "cross_dataset", "dataset": "imagenet", "per_iteration": {}}
    for seed, names in ((1, ("dtd", "eurosat")), (2, ("dtd",))):
        put(
            tmp_path,
            **common,
            seed=seed,
            accuracy=dict.fromkeys(names, 50.0),
            zero_shot={},
            data_hash=str(seed) * 16,
            data_hashes={"train": "", "tests": {name: name.ljust(16, "0") for name in names}},
        )
    assert row(only_table(tmp_path), "coop").cells["dtd", "accuracy"].seeds == 2
    hashes = {"train": "", "tests": {"dtd": "f" * 16}}
    put(tmp_path, **common, accuracy={"dtd": 9.0}, zero_shot={}, data_hashes=hashes)
    labels = [row.label for row in only_table(tmp_path).rows]
    assert labels == ["coop (data of dtd=dtd00000)", "coop (data of dtd=ffffffff)"]


def test_execution_fields_do_not_split_runs(tmp_path):
    data = {"name": "caltech101", "root": "/b", "on_bad_image": "skip", "num_threads": 3}
    free = {"parallel_seeds": True, "memory_gb": 8.0, "learning_rates": [], "log_every": 7}
    put(tmp_path, config={"epochs": 50, "dtype": "float32", "data": {"name": "caltech101"}})
    put(tmp_path, seed=2, config={"epochs": 50, "dtype": "float32", "data": data, **free})
    assert row(only_table(tmp_path), "coop").cells["caltech101", "base"].seeds == 2
    put(tmp_path, seed=3, config={"epochs": 50, "dtype": "bfloat16", "data": data})
    assert row(only_table(tmp_path), "coop (dtype=bfloat16)").cells["caltech101", "h"].seeds == 1


def test_a_table_reports_which_methods_were_trained_on_cached_features(tmp_path):
    put(tmp_path, features="cached: 10 augmented views of each training image")
    put(tmp_path, method="maple")
    (message,) = (line for line in wording.remarks_on(only_table(tmp_path)) if "cached" in line)
    assert message.startswith("Training images of coop are cached: 10")


@pytest.mark.parametrize(
    ("kind", "declared", "shown"),
    [
        (None, "", "one image"),
        ("images", "", "one image"),
        ("videos", "", "one video"),
        ("images", "a batch", "a batch"),
    ],
)
def test_a_table_says_what_predictions_depend_on(tmp_path, monkeypatch, kind, declared, shown):
    table = methods.RECORDS["images"]
    other = dataclasses.replace(table["coop"], sees_at_test=declared)
    monkeypatch.setitem(table, "coop", other)
    put(tmp_path, **({"kind": kind} if kind else {}))
    [page, *_] = results.write(tmp_path)
    lines = page.read_text(encoding="utf-8").splitlines()
    assert any(line.startswith("| method") and line.endswith("| sees at test |") for line in lines)
    [line] = {line for line in lines if line.startswith("| coop")}
    assert line.split("|")[-2].strip() == shown


def test_a_table_says_which_methods_read_no_labels(tmp_path, monkeypatch):
    table = methods.RECORDS["images"]
    put(tmp_path)
    assert not any("no labels" in line for line in wording.remarks_on(only_table(tmp_path)))
    monkeypatch.setitem(
        table, "coop", dataclasses.replace(table["coop"], sees_in_training="no labels")
    )
    assert "The training of coop reads no labels." in wording.remarks_on(only_table(tmp_path))


def test_columns_of_a_table_are_the_test_sets_of_its_protocol(tmp_path, monkeypatch):
    monkeypatch.setitem(runs.TESTS, "unseen", ("unseen",))
    monkeypatch.setattr(runs, "PROTOCOLS", (*runs.PROTOCOLS, "unseen"))
    put(tmp_path, protocol="unseen", accuracy={"unseen": 60.0}, zero_shot={"unseen": 50.0})
    table = only_table(tmp_path)
    assert table.columns == ["unseen"]
    assert row(table, "coop").cells["caltech101", "unseen"].mean == 60.0


def test_data_sets_may_have_different_splits(tmp_path):
    put(tmp_path)
    put(tmp_path, dataset="imagenet", split_source="native", classes={"base": 500, "new": 500})
    assert row(only_table(tmp_path), "coop").cells["average", "base"].mean == 80.0


def test_backbones_and_scenes_are_in_different_tables(tmp_path):
    put(tmp_path)
    put(tmp_path, backbone="embedded", backbone_hash="f" * 16)
    put(tmp_path, backbone_hash="e" * 16)
    put(tmp_path, dataset="emoji_scenes:night")
    put(tmp_path, dataset="emoji_scenes:plain")
    put(tmp_path, shots=4)
    put(tmp_path, ablation="iterations", variant="N=1", method="pro_mpt")
    tables, _, remarks = results.summarize(tmp_path)
    assert len(tables) == 7
    assert not remarks
    for table in tables:
        stand_in = table.backbone == "embedded" or bool(table.data)
        message = any("stand-in" in line for line in wording.remarks_on(table))
        assert message == stand_in


@pytest.mark.parametrize(
    "text, reason",
    [
        ("{", "Expecting"),
        ("[]", "no JSON object"),
        ('{"a": 1}', "protocol: it is missing"),
        ('{"protocol": "detection"}', "method: it is missing"),
    ],
)
def test_foreign_files_are_named_and_left_out(tmp_path, text, reason):
    put(tmp_path)
    foreign = tmp_path / "other" / "results.json"
    foreign.parent.mkdir()
    foreign.write_text(text)
    found, problems = runs.read(tmp_path)
    assert len(found) == 1
    assert len(problems) == 1
    assert str(foreign) in problems[0]
    assert reason in problems[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"accuracy": {"base": float("nan"), "new": 1.0}},
        {"accuracy": {"base": "80", "new": 1.0}},
        {"accuracy": {"base": 8000.0, "new": 1.0}},
        {"accuracy": {"test": 80.0}},
        {"accuracy": [1, 2]},
        {"seed": "1"},
        {"dataset": 3},
        {"config": None},
        {"per_iteration": {"base": 3}},
    ],
)
def test_damaged_fields_are_named_and_left_out(tmp_path, changes):
    put(tmp_path)
    damaged = put(tmp_path, **changes)
    found, problems = runs.read(tmp_path)
    assert len(found) == 1
    assert len(problems) == 1
    assert problems[0].startswith(f"{damaged} is left out")


def test_no_results_give_one_line_and_exit_code_2(tmp_path, capsys):
    for folder in (tmp_path, tmp_path / "nowhere"):
        assert explain(results.start, [str(folder)]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert str(folder) in error
        assert error.count("\n") == 1


def test_an_unwritable_directory_gives_one_line(tmp_path):
    put(tmp_path)
    (tmp_path / "taken").write_text("")
    with pytest.raises(PromptError, match="--out=.*taken cannot be written to"):
        results.write(tmp_path, tmp_path / "taken")


def test_selected_settings_are_counted(tmp_path):
    for seed, alpha in ((1, 100.0), (2, 10.0), (3, 100.0)):
        chosen = {"values": {"alpha": alpha}, "by": "40 validation images"}
        put(tmp_path, method="gda", seed=seed, chosen=chosen)
    lines = [one for one in wording.remarks_on(only_table(tmp_path)) if "chosen" in one]
    assert lines == ["alpha of gda was chosen without test images, value (runs): 10 (1), 100 (2)."]
