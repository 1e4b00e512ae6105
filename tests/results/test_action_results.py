"""Tables of action recognition: published figures, top-5, reversals, classes and confusions."""

import csv
import statistics

import pytest
from result_trees import only_table, put, put_counts, read_csv, row

from experiments import results
from experiments.figures import classes, retrieval, wording
from experiments.figures.papers import published, published_actions
from experiments.figures.papers.published_actions import KINETICS
from experiments.record import runs
from experiments.record.files import confusions
from prompt_jax import methods
from prompt_jax.evaluation.metrics import harmonic_mean

FRAMES = {"data": {"frames": 32}}
COUPLED = {"prompts": 10, "depth": 12, "coupling_layer": 0}
# Two pairs of reversals and an action that is its own reversal.
VIDEOS = {
    "moving left": {"moving left": 3, "moving right": 1},
    "moving right": {"moving left": 4},
    "shaking": {"shaking": 1, "moving up": 3},
    "moving up": {"moving up": 2, "shaking": 1, "moving down": 1},
}


def flat(counts: dict[str, dict[str, int]]) -> dict[tuple[str, str], int]:
    return {(name, other): n for name, row in counts.items() for other, n in row.items()}


def put_actions(folder, method="vilt_clip", dataset="hmdb51", **changes):
    """Writes a few-shot run on videos."""
    usual = {
        "protocol": "few_shot",
        "accuracy": {"test": 60.0},
        "zero_shot": {},
        "per_iteration": {},
        "classes": {},
        "pictures": {},
        "config": FRAMES | {"settings": COUPLED},
    }
    return put(folder, method=method, dataset=dataset, **usual | changes)


def put_counted(folder, seed=1, counts=VIDEOS, **changes):
    """Writes a run on embedded videos with a confusion matrix."""
    total = confusions.Confusion(flat(counts))
    cell = {"dataset": "emoji_clips:night", "backbone": "embedded", "seed": seed}
    path = put_actions(folder, **cell, accuracy={"test": total.accuracy()}, **changes)
    put_counts(path, {"test": flat(counts)})
    return path


def test_few_shot_figures_are_beside_their_shots(tmp_path):
    for dataset in ("hmdb51", "ucf101_clips", "ssv2"):
        for shots in (2, 16):
            put_actions(tmp_path, dataset=dataset, shots=shots)
    cells = row(only_table(tmp_path), "vilt_clip").cells
    assert cells["hmdb51", "2"].published == (60.6, "ViLT-CLIP (AAAI 2024), Table 1")
    assert cells["hmdb51", "2"].difference == pytest.approx(-0.6)
    assert cells["ucf101_clips", "16"].published.value == 93.8
    assert cells["ssv2", "2"].published.value == 7.8
    assert cells["average", "2"].published is None  # not in the paper


def test_base_to_novel_has_published_halves_and_their_mean(tmp_path):
    config = FRAMES | {"settings": COUPLED | {"prompts": 16, "depth": 10}}
    halves = {"protocol": "base_to_novel", "accuracy": {"base": 70.0, "new": 50.0}}
    put_actions(tmp_path, **halves, config=config)
    cells = row(only_table(tmp_path), "vilt_clip").cells
    printed = [cells["hmdb51", column].published.value for column in ("base", "new", "h")]
    assert printed == [76.7, 57.5, 65.7]
    assert cells["hmdb51", "h"].mean == pytest.approx(harmonic_mean(70.0, 50.0))


def test_zero_shot_clip_is_compared_under_both_its_names(tmp_path):
    put_actions(tmp_path, method="clip_video", config=FRAMES)
    put_actions(tmp_path, zero_shot={"test": 40.0})
    table = only_table(tmp_path)
    for label in ("clip_video", "zero_shot"):
        assert row(table, label).cells["hmdb51", "16"].published.value == 41.9
    assert [one.method for one in table.rows] == ["zero_shot", "clip_video", "vilt_clip"]


def test_supervised_runs_have_top_5(tmp_path):
    config = {"data": {"frames": 16}, "settings": COUPLED}
    put_actions(
        tmp_path, protocol="supervised", dataset=KINETICS, top5={"test": 90.0}, config=config
    )
    table = only_table(tmp_path)
    cells = row(table, "vilt_clip").cells
    assert cells[KINETICS, "accuracy"].published.value == 77.6
    assert cells[KINETICS, "accuracy, top-5"].difference == pytest.approx(90.0 - 94.5)
    assert "shots" not in wording.title(table)
    results.write(tmp_path)
    text = (tmp_path / "tables" / "supervised.md").read_text()
    assert "seeds | accuracy | accuracy, top-5 |" in text
    plain, top5 = read_csv(tmp_path / "tables" / "supervised.csv")
    assert (plain["metric"], top5["metric"]) == ("accuracy", "accuracy, top-5")
    assert top5["shots"] == top5["shots_least"] == ""


def test_splits_are_averaged_with_their_deviation(tmp_path):
    for seed in (1, 2):
        tested = {f"hmdb51:val{n}": 40.0 + n + seed for n in (1, 2, 3)}
        common = {"protocol": runs.TRANSFER, "dataset": KINETICS, "seed": seed}
        put_actions(tmp_path, **common, accuracy=tested)
    table = only_table(tmp_path)
    cell = row(table, "vilt_clip").cells["hmdb51", "accuracy"]
    assert cell.mean == pytest.approx(43.5)
    assert cell.deviation == pytest.approx(statistics.stdev([42.5, 43.5, 44.5]))
    assert cell.seeds == 2
    assert cell.published == (45.3, "ViLT-CLIP (AAAI 2024), Table 3, ± 0.9")
    [(_, columns)] = table.sections()
    assert next(iter(columns)) == "hmdb51, mean of 3 splits"
    assert table.averaged == ["hmdb51"]
    assert "hmdb51: the mean over 3 splits, ± its deviation over them." in wording.remarks_on(table)


@pytest.mark.parametrize("keys", [("hmdb51:val1", "hmdb51:val2"), ("hmdb51:val1",), ("hmdb51",)])
def test_fewer_splits_are_not_compared(tmp_path, keys):
    common = {"protocol": runs.TRANSFER, "dataset": KINETICS}
    put_actions(tmp_path, **common, accuracy=dict.fromkeys(keys, 40.0))
    cells = row(only_table(tmp_path), "vilt_clip").cells
    assert not any(cell.published for cell in cells.values())


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"backbone": "ViT-B/32"}, ""),
        ({"dataset": "clip_folder"}, ""),
        ({"shots": 1}, ""),
        ({"variant": "x=1"}, ""),
        ({"config": {"data": {"frames": 8}}}, "vilt_clip: data.frames=8, not 32"),
        ({"config": FRAMES | {"settings": {"depth": 6}}}, "vilt_clip: settings.depth=6, not 12"),
    ],
)
def test_incomparable_results_have_no_published_figure(tmp_path, changes, message):
    put_actions(tmp_path, **changes)
    table = only_table(tmp_path)
    assert not any(cell.published for one in table.rows for cell in one.cells.values())
    assert table.settings_differences == ([message] if message else [])
    assert any(message in line for line in wording.cautions(table)) or not message


def test_images_and_videos_are_in_different_tables(tmp_path):
    put_actions(tmp_path)
    put_actions(tmp_path, method="coop", dataset="ucf101")
    put_actions(tmp_path, dataset="emoji_clips:night")
    tables, _, _ = results.summarize(tmp_path)
    assert sorted(table.data for table in tables) == ["", "actions", "emoji_clips:night"]


def test_reversals_are_merged_from_the_counts(tmp_path):
    put_counted(tmp_path)
    put_counted(tmp_path, seed=2)
    table = only_table(tmp_path)
    cells = row(table, "vilt_clip").cells
    assert cells["emoji_clips:night", "16"].mean == pytest.approx(100 * 6 / 16)
    merged = cells["emoji_clips:night", "16, reversals merged"]
    assert (merged.mean, merged.seeds) == (pytest.approx(100 * 12 / 16), 2)
    assert table.columns == ["16"] and table.further == ["reversals merged"]
    assert any(line.startswith("Reversals merged") for line in wording.remarks_on(table))


def test_real_videos_have_no_reversals(tmp_path):
    counts = {("turn", "turn"): 1, ("jump", "jump"): 1}
    put_counts(put_actions(tmp_path, accuracy={"test": 100.0}), {"test": counts})
    assert only_table(tmp_path).further == []


def test_h_of_merged_halves_is_that_of_their_averages(tmp_path):
    halves = {"base": {("moving up", "moving down"): 1}, "new": {("falling", "rising"): 1}}
    halves["new"]["rising", "shaking"] = 1
    path = put_actions(
        tmp_path,
        protocol="base_to_novel",
        dataset="emoji_clips",
        accuracy={"base": 0.0, "new": 0.0},
    )
    put_counts(path, halves)
    cells = row(only_table(tmp_path), "vilt_clip").cells
    assert cells["emoji_clips", "base, reversals merged"].mean == 100
    assert cells["emoji_clips", "new, reversals merged"].mean == 50
    assert cells["emoji_clips", "h, reversals merged"].mean == pytest.approx(200 / 3)


@pytest.mark.parametrize(
    "text, reason",
    [
        ("class,count\n", "its first line is not class,predicted,count"),
        ("class,predicted,count\n", "it has no counts"),
        ("class,predicted,count\na,a\n", "line 2 has 2 cells, not 3"),
        ("class,predicted,count\na,a,-1\n", "line 2 is not two classes and a count"),
        ("class,predicted,count\na,a,0\n", "line 2 repeats an entry or has the count 0"),
        ("class,predicted,count\na,a,1\na,a,1\n", "line 3 repeats an entry or has the count 0"),
        ("class,predicted,count\na,a,1\na,b,1\n", "accuracy 50.00 %, but 60.00 % in results.json"),
        ('class,predicted,count\n"a', "line 2: "),
        (b"\xff", "'utf-8' codec"),
    ],
)
def test_counts_of_another_run_are_reported_and_left_out(tmp_path, text, reason):
    path = put_actions(tmp_path).with_name("confusion-test.csv")
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    [found], [problem] = runs.read(tmp_path)
    assert not found.confusions
    assert problem.startswith(f"{path} is left out, ") and reason in problem


def test_any_names_are_read_as_written(tmp_path):
    counts = {('a "b", c', "ü\nd"): 2, ("ü\nd", "ü\nd"): 3}
    put_counts(put_actions(tmp_path), {"test": counts})
    [found], problems = runs.read(tmp_path)
    assert not problems and found.confusions["test"].counts == counts


def test_classes_are_averaged_over_seeds(tmp_path):
    put_counted(tmp_path)
    other = VIDEOS | {"moving left": {"moving left": 1, "shaking": 3}}
    put_counted(tmp_path, seed=2, counts=other)
    results.write(tmp_path)
    with (tmp_path / "tables" / "few_shot-classes.csv").open(newline="") as file:
        found = {line["class"]: line for line in csv.DictReader(file)}
    assert list(found) == list(VIDEOS)
    left = found["moving left"]
    assert (float(left["accuracy"]), left["examples"], left["n_seeds"]) == (50.0, "4", "2")
    assert float(left["std"]) == pytest.approx(statistics.stdev([75, 25]), abs=1e-4)
    assert (left["taken_for"], float(left["taken_for_share"])) == ("shaking", 37.5)
    assert found["moving right"]["accuracy"] == "0.0000"
    names = {path.name for path in (tmp_path / "tables").iterdir()}
    stem = "few_shot-embedded-01234567-emoji_clips-night-confusion-vilt_clip-16shots"
    assert {f"{stem}.png", f"{stem}.svg"} <= names


def test_the_worst_classes_form_the_plotted_matrix(tmp_path):
    total = confusions.Confusion(flat(VIDEOS))
    grid = classes.worst(total, rows=2, columns=3)
    assert grid.rows == ["moving right", "shaking"]
    assert grid.columns == ["moving right", "shaking", "moving left", "any other"]
    assert grid.shares.tolist() == [[0, 0, 100, 0], [0, 25, 0, 75]]
    whole = classes.worst(total)
    assert (len(whole.rows), whole.classes) == (4, 4)
    assert whole.columns == [*whole.rows, "moving down"]
    assert whole.shares.sum(axis=1).tolist() == [100] * 4


def put_retrieval(
    folder, method="vilt_clip", backbone="ViT-B/16", dataset="msvd", prompts=6, **more
):
    """Writes a retrieval run whose metrics are all 50."""
    ranks = {"test": {way: dict.fromkeys(runs.METRICS, 50.0) for way in runs.WAYS}}
    cell = {"backbone": backbone, "config": {"settings": {"prompts": prompts}}}
    found = {"ranks": ranks, "zero_shot_ranks": ranks, "zero_shot": {"test": 50.0}}
    put_actions(folder, method, dataset, protocol="retrieval", **cell, **found, **more)


@pytest.mark.parametrize(
    "changes, figures",
    [
        ({}, ["47.3", "76.8", "", "9.8"]),
        ({"method": "a5", "dataset": "msrvtt_9k"}, ["36.7", "64.6", "", ""]),
        ({"method": "vop", "dataset": "msrvtt_9k", "backbone": "ViT-B/32"}, ["39.6", "66.7"]),
        ({"backbone": "ViT-B/32"}, []),
        ({"dataset": "activitynet"}, []),
        ({"prompts": 10}, []),
    ],
)
def test_retrieval_is_compared_for_the_same_backbone_data_and_settings(tmp_path, changes, figures):
    put_retrieval(tmp_path, **changes)
    [table] = results.summarize(tmp_path).retrieval_tables
    _, lines = retrieval.in_full(table, "test")
    method = changes.get("method", "vilt_clip")
    [place] = [number for number, line in enumerate(lines) if line[0] == method]
    below = [line for line in lines[place + 1 : place + 2] if line[0] == "– published"]
    assert [line[1 : 1 + len(figures)] for line in below] == ([figures] if figures else [])
    own = [record for record in retrieval.records(table) if record["method"] == method]
    assert any(record["published"] for record in own) == bool(figures)


def test_intervals_of_retrieval_are_shown_on_request(tmp_path):
    for seed, ends in ((1, [40.0, 56.0]), (2, [44.0, 60.0])):
        of_seed = {"test": {way: {"R@1": ends} for way in runs.WAYS}}
        put_retrieval(tmp_path, seed=seed, rank_intervals=of_seed)
    results.write(tmp_path)
    plain = (tmp_path / "tables/retrieval.md").read_text()
    assert "50.00 ± 0.00" in plain and "[" not in plain
    line = next(
        line
        for line in read_csv(tmp_path / "tables/retrieval.csv")
        if (line["method"], line["metric"]) == ("vilt_clip", "t2v R@1")
    )
    assert (line["low"], line["high"]) == ("42.0000", "58.0000")
    summary = results.summarize(tmp_path, intervals=True)
    results.write_tables(summary, tmp_path / "tables")
    asked = (tmp_path / "tables/retrieval.md").read_text()
    assert "50.00 ± 0.00 [42.0, 58.0]" in asked and retrieval.BRACKETS in asked


def figures_of(protocol):
    """Returns published figures by method and data set."""
    rows = {name: published.rows("videos", name, protocol) for name in methods.ENCODERS}
    return {name: dict(found[0].figures) for name, found in rows.items() if found}


def test_published_harmonic_means_match():
    """Detects errors in copying the table, which has one decimal, and one error of its own."""
    for method, of_sets in figures_of("base_to_novel").items():
        for dataset, (base, new, h) in of_sets.items():
            if (method, dataset) == ("vilt_multimodal", "ucf101_clips"):
                h = 79.7
            assert harmonic_mean(base, new) == pytest.approx(h, abs=0.1)


def test_more_shots_are_never_worse_in_the_paper():
    for of_sets in figures_of("few_shot").values():
        for scores in of_sets.values():
            assert list(scores) == sorted(scores)


def test_every_published_method_and_data_set_exists():
    for protocol in ("few_shot", "base_to_novel", "zero_shot_transfer", "supervised"):
        found = figures_of(protocol)
        assert {"clip_video", "zero_shot", "vilt_clip"} <= set(found)
        assert {name for of_sets in found.values() for name in of_sets} <= {
            *published_actions.DATASETS
        }
