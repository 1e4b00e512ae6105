"""Tables and plots of many runs: hand-made results.json files with known answers."""

import csv
import json
import os
import statistics
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from experiments import averages, drawing, published, results, runs
from experiments.main import explain
from prompt_jax.errors import PromptError
from prompt_jax.metrics import harmonic_mean

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


def only_table(folder: Path) -> averages.ResultTable:
    (table,), remarks = results.summarize(folder)
    assert not remarks
    return table


def row(table: averages.ResultTable, label: str) -> averages.Row:
    (found,) = (row for row in table.rows if row.label == label)
    return found


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_seeds_are_averaged_and_h_is_of_the_averages(tmp_path):
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
    assert average["average", "base"].published is None  # two data sets, the paper's has eleven
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
    assert cells["caltech101", "new"].published is None  # only in a picture of the paper


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
    (table,), remarks = results.summarize(tmp_path)
    assert row(table, "coop").cells["caltech101", "base"].mean == 90.0
    assert len(remarks) == 1
    assert remarks[0].startswith(f"{old} does not count: {new} is a newer run")
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
        ({"pictures": {"train": 800, "test_base": 99, "test_new": 10}}, "pictures of base=99"),
        ({"features": "cached: 1 fixed view"}, "features=cached: 1 fixed view"),
    ],
)
def test_different_data_are_different_rows(tmp_path, changes, label):
    put(tmp_path)
    put(tmp_path, seed=2, **changes)
    labels = [row.label for row in only_table(tmp_path).rows if row.method == "coop"]
    assert len(labels) == 2
    assert any(label in one for one in labels)


def test_a_table_says_which_methods_were_trained_on_cached_features(tmp_path):
    put(tmp_path, features="cached: 10 augmented views of each training picture")
    put(tmp_path, method="maple")
    (said,) = (line for line in results.remarks_on(only_table(tmp_path)) if "cached" in line)
    assert said.startswith("Training pictures of coop are cached: 10")


def test_data_sets_may_have_different_splits(tmp_path):
    put(tmp_path)
    put(tmp_path, dataset="imagenet", split_source="native", classes={"base": 500, "new": 500})
    assert row(only_table(tmp_path), "coop").cells["average", "base"].mean == 80.0


def test_backbones_and_scenes_are_different_tables(tmp_path):
    put(tmp_path)
    put(tmp_path, backbone="embedded", backbone_hash="f" * 16)
    put(tmp_path, backbone_hash="e" * 16)
    put(tmp_path, dataset="emoji_scenes:night")
    put(tmp_path, dataset="emoji_scenes:plain")
    put(tmp_path, shots=4)
    put(tmp_path, ablation="iterations", variant="N=1", method="pro_mpt")
    tables, remarks = results.summarize(tmp_path)
    assert len(tables) == 7
    assert not remarks
    for table in tables:
        stand_in = table.backbone == "embedded" or bool(table.data)
        said = any("not comparable" in line for line in results.remarks_on(table))
        assert said == stand_in


@pytest.mark.parametrize(
    "text, reason",
    [
        ("{", "Expecting"),
        ("[]", "no JSON object"),
        ('{"a": 1}', "no field 'protocol'"),
        ('{"protocol": "retrieval"}', "protocol='retrieval', allowed: base_to_novel"),
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


def test_nothing_to_read_is_one_sentence_and_exit_code_2(tmp_path, capsys):
    for folder in (tmp_path, tmp_path / "nowhere"):
        assert explain(results.start, [str(folder)]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert str(folder) in error
        assert error.count("\n") == 1


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    put(tmp_path)
    (tmp_path / "taken").write_text("")
    with pytest.raises(PromptError, match="--out=.*taken cannot be written to"):
        results.write(tmp_path, tmp_path / "taken")


def tree(folder: Path) -> None:
    """Runs of all four protocols and of two ablations."""
    for seed in (1, 2):
        for method, steps in (("coop", []), ("pro_mpt", [50.0, 70.0])):
            for dataset in ("caltech101", "dtd"):
                base, new = 80.0 + seed, 60.0 + seed
                per_iteration = {"base": [*steps, base], "new": [*steps, new]}
                cell = {"method": method, "dataset": dataset, "seed": seed}
                accuracy = {"base": base, "new": new}
                put(folder, **cell, accuracy=accuracy, per_iteration=per_iteration)
                for shots in (1, 16):
                    put(
                        folder,
                        **cell,
                        protocol="few_shot",
                        shots=shots,
                        accuracy={"test": 50.0 + shots},
                        zero_shot={"test": 51.0},
                        per_iteration={"test": [*steps, 50.0 + shots]},
                    )
            for protocol in ("cross_dataset", "domain_generalization"):
                names = ("imagenet", *published.AVERAGED[protocol])
                put(
                    folder,
                    method=method,
                    protocol=protocol,
                    dataset="imagenet",
                    seed=seed,
                    accuracy={name: 60.0 + i for i, name in enumerate(names)},
                    zero_shot=dict.fromkeys(names, 40.0),
                    per_iteration={name: [*steps, 60.0 + i] for i, name in enumerate(names)},
                )
    for ablation, variants in (("iterations", ("N=0", "N=2")), ("components", ("", "-G^V", "a|b"))):
        for variant in variants:
            put(folder, method="pro_mpt", ablation=ablation, variant=variant)


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> list[Path]:
    """What the runs of `tree` become; drawing takes seconds, so it is done once."""
    folder = tmp_path_factory.mktemp("runs")
    tree(folder)
    return results.write(folder, folder / "elsewhere")


def named(paths: list[Path], name: str) -> Path:
    (found,) = (path for path in paths if path.name == name)
    return found


def test_the_command_prints_the_tables_and_where_the_files_are(tmp_path, capsys):
    put(tmp_path, dataset="emoji_scenes:night")
    out = tmp_path / "elsewhere"
    assert explain(results.start, [str(tmp_path), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "emoji_scenes:night" in printed
    assert "80.00" in printed
    assert "not comparable with published ones" in printed
    assert f"4 files are in {out}; to read: base_to_novel.md" in printed
    assert len(list(out.iterdir())) == 4


def test_every_file_is_what_it_says(written):
    assert all(path.is_file() for path in written)
    assert len(set(written)) == len(written) == len(list(written[0].parent.iterdir()))
    for protocol in runs.PROTOCOLS:
        named(written, f"{protocol}.md")
        named(written, f"{protocol}.csv")
    pictures = [path for path in written if path.suffix == ".png"]
    # Bars or curves: one for base-to-novel, cross-dataset, domain generalization, each ablation,
    # and three for few-shot (average, two data sets); iterations: one for each protocol.
    assert len(pictures) == 3 + 2 + 3 + 4
    assert sum(path.stem.endswith("-iterations-pro_mpt") for path in pictures) == 4
    for path in pictures:
        with Image.open(path) as image:
            image.load()
            assert np.asarray(image).std() > 1
        svg = ElementTree.parse(path.with_suffix(".svg")).getroot()
        texts = {text.text for text in svg.iter("{http://www.w3.org/2000/svg}text")}
        assert "accuracy (%)" in texts


def test_writing_again_gives_the_same_files(tmp_path):
    put(tmp_path)
    first = {path: path.read_bytes() for path in results.write(tmp_path)}
    assert {path: path.read_bytes() for path in results.write(tmp_path)} == first
    assert all(path.parent == tmp_path / "tables" for path in first)


def test_markdown_tables_have_equal_columns(written):
    for path in written:
        if path.suffix == ".md":
            tables = [part for part in path.read_text().split("\n\n") if part.startswith("|")]
            assert tables
            for table in tables:
                lines = [line.replace("\\|", "") for line in table.strip().splitlines()]
                assert len({line.count("|") for line in lines}) == 1
                assert len({len(line) for line in table.strip().splitlines()}) == 1


def test_the_source_is_not_part_of_the_average_and_shots_are_columns(written):
    cross = read_csv(named(written, "cross_dataset.csv"))
    (average,) = (r for r in cross if (r["method"], r["dataset"]) == ("pro_mpt", "average"))
    assert float(average["mean"]) == pytest.approx(60 + statistics.fmean(range(1, 11)))
    assert float(average["published"]) == 66.25
    assert float(average["difference"]) == pytest.approx(float(average["mean"]) - 66.25)
    assert average["n_seeds"] == "2"
    assert average["source"] == "imagenet"
    few = read_csv(named(written, "few_shot.csv"))
    one = {r["shots"]: r for r in few if (r["method"], r["dataset"]) == ("coop", "average")}
    assert {shots: float(r["mean"]) for shots, r in one.items()} == {"1": 51.0, "16": 66.0}
    assert not any(r["published"] for r in few)


def test_a_target_that_one_run_lacks_stays_empty(tmp_path):
    both = {"imagenet": 60.0, "dtd": 40.0, "eurosat": 50.0}
    common = {"protocol": "cross_dataset", "dataset": "imagenet", "zero_shot": {}}
    put(tmp_path, **common, accuracy=both, per_iteration={})
    put(tmp_path, **common, method="maple", accuracy={"dtd": 45.0}, per_iteration={})
    table = only_table(tmp_path)
    assert table.datasets == ["imagenet", "dtd", "eurosat"]
    assert list(row(table, "maple").cells) == [("dtd", "accuracy")]
    results.write(tmp_path)
    text = (tmp_path / "tables" / "cross_dataset.md").read_text()
    (line,) = (line for line in text.splitlines() if line.startswith("| maple"))
    assert [cell.strip() for cell in line.split("|")[2:-1]] == ["1", "", "45.00", "", ""]


def test_ablations_are_in_their_order_and_compared(tmp_path):
    for variant in ("N=10", "N=2", "N=0"):
        for dataset in ELEVEN:
            put(tmp_path, method="pro_mpt", dataset=dataset, ablation="iterations", variant=variant)
    table = only_table(tmp_path)
    assert [row.variant for row in table.rows] == ["", "N=0", "N=2", "N=10"]
    assert row(table, "zero_shot").cells["average", "new"].published.value == 74.22
    assert row(table, "pro_mpt N=0").cells["average", "new"].published.value == 74.77
    assert row(table, "pro_mpt N=2").cells["food101", "h"].published.value == 91.36
    assert row(table, "pro_mpt N=10").cells["average", "new"].published is None


def test_iterations_are_averaged_over_data_sets_per_seed(tmp_path):
    for seed in (1, 2):
        for dataset, start in (("caltech101", 10.0), ("dtd", 20.0)):
            steps = {"base": [start, start + seed, 80.0], "new": [start, start, 60.0]}
            put(tmp_path, method="pro_mpt", dataset=dataset, seed=seed, per_iteration=steps)
    table = only_table(tmp_path)
    curves = row(table, "pro_mpt").iterations(("average", "base"), table.averaged)
    assert curves == [[15.0, 16.0, 80.0], [15.0, 17.0, 80.0]]
    assert row(table, "zero_shot").iterations(("dtd", "base"), []) == [[70.0], [70.0]]


def test_older_results_without_protocol_fields_are_read(tmp_path):
    path = put(tmp_path, base=80.0, new=60.0)
    content = json.loads(path.read_text())
    for key in ("accuracy", "ablation", "variant", "split_source", "features"):
        del content[key]
    path.write_text(json.dumps(content))
    assert row(only_table(tmp_path), "coop").cells["caltech101", "base"].mean == 80.0


def test_drawing_needs_no_average(tmp_path):
    put(tmp_path)
    put(tmp_path, method="cocoop", dataset="dtd")
    paths = drawing.draw(only_table(tmp_path), tmp_path, "title")
    assert len(paths) == 4
    assert all(path.stat().st_size > 1000 for path in paths)


def test_published_averages_fit_their_rows():
    """A slip in copying a table would show: its printed average no longer fits."""
    for tables, names in (
        (published.CROSS_DATASET, published.TARGETS),
        (published.DOMAIN_GENERALIZATION, published.SHIFTED),
    ):
        for cells in tables.values():
            mean = statistics.fmean(cells[name] for name in names)
            assert mean == pytest.approx(cells["average"], abs=0.011)


def test_published_harmonic_means_fit():
    # GDA's printed H is of another convention.
    rows = [scores for name, (scores, _) in published.BASE_TO_NOVEL.items() if name != "gda"]
    rows += [scores for cells in published.ITERATIONS.values() for scores in cells.values()]
    rows += list(published.COMPONENTS.values())
    for base, new, h in rows:
        assert harmonic_mean(base, new) == pytest.approx(h, abs=0.011)


def test_a_variant_is_compared_only_where_the_paper_has_it():
    def find(ablation: str, variant: str) -> float | None:
        found = published.find("base_to_novel", ablation, "pro_mpt", variant, "average", "h")
        return found and found.value

    assert find("components", "-G^V") == 76.62
    assert find("vision_prompts", "a=8") == 77.80
    assert find("vision_prompts", "a=4") is None
    assert find("iterations", "N=1") == 76.74
    assert find("iterations", "N=1.5") is None
