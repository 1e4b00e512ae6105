"""The files written for tables of many runs, with published figures."""

import json
import statistics
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from result_trees import ELEVEN, only_table, put, read_csv, row

from experiments import results
from experiments.cli.command_line import explain
from experiments.figures import drawing
from experiments.figures.papers import published
from experiments.record import runs
from prompt_jax import methods
from prompt_jax.evaluation.metrics import harmonic_mean


def tree(folder: Path) -> None:
    """Writes runs of all protocols except retrieval, and of two ablations."""
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
    test = {"accuracy": {"test": 60.0}, "zero_shot": {"test": 40.0}, "per_iteration": {}}
    put(folder, method="nola", dataset="dtd", protocol="unlabeled", **test)
    videos = {"method": "vilt_clip", "dataset": "kinetics400", "zero_shot": {}, "per_iteration": {}}
    put(folder, **videos, protocol=runs.SUPERVISED, accuracy={"test": 60.0})
    put(folder, **videos, protocol=runs.TRANSFER, accuracy={"hmdb51:val1": 40.0})
    for ablation, variants in (("iterations", ("N=0", "N=2")), ("components", ("", "-G^V", "a|b"))):
        for variant in variants:
            put(folder, method="pro_mpt", ablation=ablation, variant=variant)


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> list[Path]:
    """Writes the tables and plots of `tree` once, because plots take seconds."""
    folder = tmp_path_factory.mktemp("runs")
    tree(folder)
    return results.write(folder, folder / "elsewhere")


def named(paths: list[Path], name: str) -> Path:
    (found,) = (path for path in paths if path.name == name)
    return found


def test_the_command_prints_the_tables_and_the_paths_of_the_files(tmp_path, capsys):
    put(tmp_path, dataset="emoji_scenes:night")
    out = tmp_path / "elsewhere"
    assert explain(results.start, [str(tmp_path), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "emoji_scenes:night" in printed
    assert "80.00" in printed
    assert "not comparable with published ones" in printed
    assert f"wrote 4 files to {out}; start with base_to_novel.md" in printed
    assert len(list(out.iterdir())) == 4


def both_texts(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """Returns the Markdown of the only protocol, and the command's output, without line breaks."""
    assert explain(results.start, [str(folder)]) == 0
    (path,) = (folder / "tables").glob("*.md")
    return path.read_text(), capsys.readouterr().out


def test_fewer_classes_and_images_are_reported(tmp_path, capsys):
    classes = {"classes": {"base": 5, "new": 5}}
    put(tmp_path, dataset="dtd", **classes, pictures={"test_base": 120, "test_new": 120})
    put(tmp_path, dataset="eurosat", **classes, pictures={"test_base": 4200, "test_new": 3900})
    for text in both_texts(tmp_path, capsys):
        assert "dtd: 10 of 47 classes, 240 of 1,692 test images" in text
        assert "eurosat: " not in text


def test_splits_of_tfds_are_reported_for_targets_too(tmp_path, capsys):
    names = ("imagenet", "dtd", "eurosat")
    put(
        tmp_path,
        protocol="cross_dataset",
        dataset="imagenet",
        accuracy=dict.fromkeys(names, 50.0),
        zero_shot={},
        per_iteration={},
        classes={"imagenet": 1000, "dtd": 47, "eurosat": 10},
        pictures={"train": 9, "test_imagenet": 50_000, "test_dtd": 1880, "test_eurosat": 8100},
        split_source="TFDS imagenet2012:5.1.0",
        split_sources={
            "imagenet": "TFDS imagenet2012:5.1.0",
            "dtd": "TFDS dtd:3.0.1",
            "eurosat": "split_zhou_EuroSAT.json, images of TFDS eurosat/rgb:2.0.0",
        },
    )
    for text in both_texts(tmp_path, capsys):
        message = "TFDS's own splits, not the benchmark's (TFDS dtd:3.0.1)"
        assert f"published figures: dtd: 1,880 test images, not 1,692, {message}." in text
        assert "imagenet: " not in text
        assert "eurosat: " not in text


@pytest.mark.parametrize("backbone", ["ViT-B/32", "ViT-B/16"])
def test_another_backbone_is_reported_beside_published_figures(tmp_path, capsys, backbone):
    put(tmp_path, method="pro_mpt", dataset="imagenet", backbone=backbone)
    for text in both_texts(tmp_path, capsys):
        assert "76.03" in text
        message = f"{published.BACKBONE}, 16 shots; measured: backbone {backbone}." in text
        assert message == (backbone == "ViT-B/32")


def test_the_terminal_shows_every_target_that_fits(tmp_path, capsys):
    for protocol, missing in (("domain_generalization", False), ("cross_dataset", True)):
        names = ("imagenet", *published.AVERAGED[protocol])
        folder = tmp_path / protocol
        scores = {name: 30.25 + i for i, name in enumerate(names)}
        cell = {"protocol": protocol, "dataset": "imagenet", "accuracy": scores}
        put(folder, **cell, zero_shot={}, per_iteration={})
        _, printed = both_texts(folder, capsys)
        assert "30.25" in printed
        assert ("31.25" not in printed) == missing


@pytest.mark.slow
def test_every_file_has_the_format_of_its_suffix(written):
    assert all(path.is_file() for path in written)
    assert len(set(written)) == len(written) == len(list(written[0].parent.iterdir()))
    for protocol in set(runs.PROTOCOLS) - {runs.RETRIEVAL, runs.EVALUATION}:
        named(written, f"{protocol}.md")
        named(written, f"{protocol}.csv")
    images = [path for path in written if path.suffix == ".png"]
    # Bars or curves: one for base-to-novel, cross-dataset, domain generalization, supervised,
    # transfer, unlabeled and each ablation, and three for few-shot (average, two data sets);
    # iterations: one for each protocol of images.
    assert len(images) == 6 + 2 + 3 + 4
    assert sum(path.stem.endswith("-iterations-pro_mpt") for path in images) == 4
    for path in images:
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


@pytest.mark.slow
def test_markdown_tables_have_equal_columns(written):
    for path in written:
        if path.suffix == ".md":
            tables = [part for part in path.read_text().split("\n\n") if part.startswith("|")]
            assert tables
            for table in tables:
                lines = [line.replace("\\|", "") for line in table.strip().splitlines()]
                assert len({line.count("|") for line in lines}) == 1
                assert len({len(line) for line in table.strip().splitlines()}) == 1


@pytest.mark.slow
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


def test_a_target_missing_in_one_run_stays_empty(tmp_path):
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
    assert [cell.strip() for cell in line.split("|")[2:-1]] == ["1", "", "45.00", "", "", "one image"]


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


def test_plots_need_no_average(tmp_path):
    put(tmp_path)
    put(tmp_path, method="cocoop", dataset="dtd")
    paths = drawing.draw(only_table(tmp_path), tmp_path, "title")
    assert len(paths) == 4
    assert all(path.stat().st_size > 1000 for path in paths)


def test_published_averages_match_their_rows():
    """Detects errors in copying a table."""
    found = [
        (protocol, row.figures)
        for protocol in ("cross_dataset", "domain_generalization")
        for method in methods.METHODS
        for row in published.rows("images", method, protocol)
    ]
    # GOPro's rows have an average, or its data sets, but not both.
    whole = [
        (protocol, figures)
        for protocol, figures in found
        if {"average", *published.AVERAGED[protocol]} <= set(figures)
    ]
    assert (len(whole), len(found)) == (3 + 4, 3 + 4 + 2)
    for protocol, figures in whole:
        mean = statistics.fmean(figures[name][0] for name in published.AVERAGED[protocol])
        assert mean == pytest.approx(figures["average"][0], abs=0.011)


def test_published_harmonic_means_match():
    # GDA's printed H is of another convention.
    rows = [
        scores
        for name, record in methods.RECORDS["images"].items()
        for row in record.published
        for scores in row.figures.values()
        if row.protocol == "base_to_novel" and name != "gda"
    ]
    assert len(rows) > 30
    for base, new, h in rows:
        assert harmonic_mean(base, new) == pytest.approx(h, abs=0.011)


def test_a_variant_is_compared_only_if_the_paper_has_it():
    def find(ablation: str, variant: str) -> float | None:
        found = published.find("base_to_novel", ablation, "pro_mpt", variant, "average", "h")
        return found and found.value

    assert find("components", "-G^V") == 76.62
    assert find("vision_prompts", "a=8") == 77.80
    assert find("vision_prompts", "a=4") is None
    assert find("iterations", "N=1") == 76.74
    assert find("iterations", "N=1.5") is None
