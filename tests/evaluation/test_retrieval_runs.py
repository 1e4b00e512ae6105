"""Retrieval runs on a tiny CLIP and embedded videos, and their tables."""

import csv
import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tiny
from video_files import write_folder

from data_pipelines import datasets
from data_pipelines.errors import DataError
from experiments import results
from experiments.config import config as declared
from experiments.configs.video import retrieval as configs
from experiments.figures import retrieval as report
from experiments.figures import tables
from experiments.record import peers, runs
from experiments.record.files.ranks import ranks_file
from experiments.record.runs import METRICS, TOLD_APART, WAYS
from experiments.run import experiment, parallel, sweep
from experiments.setup import batches, shots
from prompt_jax import methods
from prompt_jax.clip import tokenizer
from prompt_jax.clip.packing import pack_captions
from prompt_jax.clip.vocabulary.captions import tokenize_captions
from prompt_jax.errors import PromptError
from prompt_jax.models import saved

FRAMES = 3
TIME = "emoji_clips:time"


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Returns the directory of the tiny CLIP."""
    return tiny.save_clip(tmp_path_factory.mktemp("clip"))


def config_of(clip: Path, method: str, **settings):
    """Returns a config of two epochs on a video of each action, with three frames each."""
    c = configs.get_config(method)
    c.backbone = str(clip)
    c.settings.update(settings)
    c.data.frames = FRAMES
    c.data.train_per_class = c.data.test_per_class = 1
    c.data.num_threads = 0
    c.batch_size = c.eval_batch_size = 16
    c.epochs = 2
    c.log_every = 1
    return c


@pytest.fixture(scope="module")
def finished(clip, tmp_path_factory):
    """Returns results by method, and the directory of the runs."""
    folder = tmp_path_factory.mktemp("runs")
    vop = config_of(clip, "vop_f_p", frames=FRAMES)
    vop.data.also_test = TIME
    found = {
        "vop_f_p": experiment.run(vop, folder / "vop_f_p"),
        "zero_shot": experiment.run(config_of(clip, "zero_shot"), folder / "zero_shot"),
    }
    return found, folder


def test_a_run_records_the_ranks_of_both_directions(finished):
    found, _ = finished
    one = found["vop_f_p"]
    assert set(one["ranks"]) == set(one["zero_shot_ranks"]) == {"test", TIME}
    for key, ranks in (*one["ranks"].items(), *one["zero_shot_ranks"].items()):
        assert tuple(ranks) == WAYS
        for way, figures in ranks.items():
            apart = (TOLD_APART,) if (key, way) == (TIME, "t2v") else ()
            assert tuple(figures) == METRICS + apart
            assert 0 <= figures["R@1"] <= figures["R@5"] <= figures["R@10"] <= 100
            assert figures["MnR"] >= 1
    assert one["accuracy"]["test"] == one["ranks"]["test"]["t2v"]["R@1"]
    assert one["pictures"]["test_test"] == one["captions"]["test"] == 33
    assert one["trainable_parameters"] > 0 and one["shots_per_class"] is None


def test_each_query_is_recorded_with_what_it_retrieves(finished):
    found, folder = finished
    rows = pq.read_table(folder / "vop_f_p/predictions-test.parquet").to_pylist()
    ways = {way: [row for row in rows if row["direction"] == way] for way in WAYS}
    assert [len(some) for some in ways.values()] == [33, 33]
    for way, some in ways.items():
        figures = found["vop_f_p"]["ranks"]["test"][way]
        assert np.mean([row["rank"] for row in some]) == pytest.approx(figures["MnR"])
        for row in some:
            own = row["path"] if way == "t2v" else row["caption"]
            if way == "t2v" and row["rank"] <= 5 and row["rank"].is_integer():
                assert row["top5"][int(row["rank"]) - 1] == own
            assert len(row["top5"]) == len(row["similarities"]) == 5
            assert row["similarities"] == sorted(row["similarities"], reverse=True)
            assert (row["caption"] is None) == (way == "v2t")
    with (folder / "vop_f_p" / ranks_file("test")).open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [float(line["rank"]) for line in lines] == [row["rank"] for row in ways["t2v"]]
    for ranks in (found["vop_f_p"]["rank_intervals"], found["zero_shot"]["rank_intervals"]):
        assert tuple(ranks["test"]) == WAYS
    low, high = found["vop_f_p"]["rank_intervals"]["test"]["t2v"]["R@5"]
    assert low <= found["vop_f_p"]["ranks"]["test"]["t2v"]["R@5"] <= high


def test_zero_shot_clip_is_equal_beside_a_method_and_alone(finished):
    found, _ = finished
    beside, alone = found["vop_f_p"]["zero_shot_ranks"]["test"], found["zero_shot"]["ranks"]["test"]
    assert beside == alone
    assert found["zero_shot"]["trainable_parameters"] == 0


def test_only_methods_that_use_frame_order_distinguish_a_video_from_its_reversal(finished):
    found, _ = finished
    one = found["vop_f_p"]
    assert one["zero_shot_ranks"][TIME]["t2v"][TOLD_APART] == 50
    assert one["ranks"][TIME]["t2v"][TOLD_APART] != 50
    assert TOLD_APART not in one["ranks"]["test"]["t2v"]


def test_a_batch_has_a_caption_of_each_video_and_resumes_at_its_position(clip):
    config = config_of(clip, "vop")
    dataset = datasets.load("emoji_clips", train_per_class=1, test_per_class=1, size=32)
    making = batches.make_batches(declared.read(config), 32, "videos")
    captions = [caption for one in dataset.train for caption in one.captions]
    tokens = tokenize_captions(captions)

    def start():
        return shots.PairBatches(making, dataset, tokens, devices=1)

    whole = list(itertools.islice(start(), 3))
    videos = list(itertools.islice(making.train(dataset), 3))
    for batch, plain in zip(whole, videos, strict=True):
        np.testing.assert_array_equal(batch["image"], plain["image"])
        np.testing.assert_array_equal(batch["label"], np.arange(16))
        text = batch["text"]
        row, column = np.divmod(np.asarray(text.place), text.eot.shape[1])
        for number, (place, caption) in enumerate(zip(plain["row"], plain["caption"], strict=True)):
            end = int(text.eot[row[number], column[number]])
            length = int(text.position[row[number], end]) + 1
            read = np.asarray(text.tokens[row[number], end + 1 - length : end])
            assert read.tolist() == tokenizer.encode(dataset.train[place].captions[caption])
    late = start()
    late.set_state(late.state_after(2))
    np.testing.assert_array_equal(next(late)["image"], whole[2]["image"])


@pytest.mark.slow
def test_a_method_is_tested_with_more_frames_than_it_is_trained_with(clip, tmp_path):
    config = config_of(clip, "prompt_switch", prompts=FRAMES)
    config.data.test_frames = 2 * FRAMES
    found = experiment.run(config, tmp_path)
    model = saved.read(tmp_path)
    assert (model.inputs.frames, model.inputs.passes) == (2 * FRAMES, 2)
    assert model.inputs.frame_rule == "centre" and "captioner" in model.prompts
    run = batches.make_batches(declared.read(config), 32, "videos")
    assert (run.train_inputs.frames, run.train_inputs.passes, run.inputs.frames) == (3, 1, 6)
    assert peers.data_preparation(runs.read(tmp_path)[0][0].config)["data.frames"] == 2 * FRAMES
    assert experiment.run(config, tmp_path) == json.loads(json.dumps(found))


@pytest.mark.slow
def test_parallel_seeds_equal_separate_runs(clip, tmp_path):
    config = config_of(clip, "vop_p", frames=FRAMES)
    config.seeds = (1, 2)
    apart = sweep.run(config, tmp_path / "apart")
    config.parallel_seeds = True
    together = sweep.run(config, tmp_path / "together")
    assert {one["trained_together"] for one in together} == {2}
    for mine, its in zip(apart, together, strict=True):
        assert mine["ranks"]["test"]["t2v"] == pytest.approx(its["ranks"]["test"]["t2v"], abs=3.1)
    paths = sorted(path.parent for path in (tmp_path / "apart").rglob("results.json"))
    for path in paths:
        twin = tmp_path / "together" / path.relative_to(tmp_path / "apart")
        for name, array in tiny.prompts_of(path).items():
            np.testing.assert_allclose(array, tiny.prompts_of(twin)[name], atol=2e-5, err_msg=name)


def test_batches_of_captions_of_different_lengths_stack():
    texts = [tokenize_captions(["a cat", "a dog on a mat"]), tokenize_captions(["a", "a cow"])]
    packed = [pack_captions(one.tokens) for one in texts]
    stacked = parallel.Together([iter([{"text": one}]) for one in packed])
    found = next(stacked)["text"]
    assert found.tokens.shape == (2, 1, packed[0].tokens.shape[1])
    np.testing.assert_array_equal(found.tokens[0], packed[0].tokens)


def test_a_finished_run_is_found_and_printed(finished, clip, capsys):
    found, folder = finished
    config = config_of(clip, "vop_f_p", frames=FRAMES)
    config.data.also_test = TIME
    again = experiment.run(config, folder / "vop_f_p")
    assert again == json.loads(json.dumps(found["vop_f_p"]))
    tables.print_run(again)
    printed = capsys.readouterr().out
    assert "already finished" in printed and "zero-shot CLIP" in printed
    assert f"{again['ranks'][TIME]['v2t']['MdR']:.2f}" in printed


def test_a_run_on_reversals_only_prints_the_share_that_it_distinguishes(finished, capsys):
    one = finished[0]["vop_f_p"]
    timed = {field: {"test": one[field][TIME]} for field in ("ranks", "zero_shot_ranks")}
    tables.print_run(one | timed)
    assert f"{one['ranks'][TIME]['t2v'][TOLD_APART]:.2f}" in capsys.readouterr().out


def test_tables_have_the_published_row_below_the_measured_one(finished, tmp_path):
    found, folder = finished
    runs_there, _ = runs.read(folder)
    [table] = report.average(runs_there)
    headers, lines = report.overview(table)
    assert [line[0] for line in lines] == ["zero_shot", "vop_f_p"]
    cells = dict(zip(headers, lines[1], strict=True))
    assert cells["t2v R@1"] == f"{found['vop_f_p']['ranks']['test']['t2v']['R@1']:.2f}"
    apart = found["vop_f_p"]["ranks"][TIME]["t2v"][TOLD_APART]
    assert cells[f"{TIME}: {TOLD_APART}"] == f"{apart:.2f}" and TOLD_APART not in cells
    assert cells["parameters"] == f"{found['vop_f_p']['trainable_parameters']:,}"
    _, whole = report.in_full(table, "test")
    assert all("published" not in line[0] for line in whole)
    renamed = [replace(run, dataset="msrvtt_9k", backbone="ViT-B/32") for run in runs_there]
    [as_published] = report.average(renamed)
    _, whole = report.in_full(as_published, "test")
    measured = found["vop_f_p"]["ranks"]["test"]["t2v"]["R@1"]
    beside = ["– published", "– difference"]
    assert [line[0] for line in whole] == ["zero_shot", *beside, "vop_f_p", *beside]
    assert (whole[1][1], whole[4][1]) == ("31.5", "43.5")
    assert whole[5][1] == f"{measured - 43.5:+.2f}"
    files = results.write(folder, tmp_path / "tables")
    names = {path.name for path in files}
    assert {"retrieval.md", "retrieval.csv"} <= names
    with (tmp_path / "tables" / "retrieval.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["dataset"] for row in rows} == {"emoji_clips", TIME}


def test_long_captions_are_truncated_with_a_note(clip, tmp_path, capsys):
    config = config_of(clip, "vop", text_prompts=67)
    config.epochs = 1
    config.batch_size = 132
    experiment.run(config, tmp_path)
    message = capsys.readouterr().out
    for role in ("training", "test"):
        assert (
            f"{role} captions are too long for the text tower and are truncated, e.g. " in message
        )


def test_equal_captions_tie_at_any_position(clip, tmp_path):
    number = 45
    rows = ["path,caption,split"]
    for video_number in range(number):
        write_folder(tmp_path / f"{video_number}", 1, size=(32 + video_number, 32))
        rows.append(f"{video_number},a dog,test")
    (tmp_path / "list.csv").write_text("\n".join(rows), encoding="utf-8")
    config = config_of(clip, "zero_shot")
    config.data.update(name="captions_csv", root=str(tmp_path), frames=1)
    config.data.train_per_class = config.data.test_per_class = 0
    found = experiment.run(config, tmp_path / "run")["ranks"]["test"]["v2t"]
    assert found["MnR"] == found["MdR"] == (number + 1) / 2
    assert found["R@1"] == pytest.approx(100 / number)


@pytest.mark.parametrize(
    ("method", "changes", "expected"),
    [
        ("vop", {"data.name": "emoji_scenes"}, "searches videos, and emoji_scenes holds images"),
        ("vop", {"data.also_test": "emoji_scenes"}, "and emoji_scenes holds images"),
        ("vop", {"data.also_test": "emoji_clip"}, "'emoji_clip'.*Did you mean.*'emoji_clips'"),
        ("vop", {"data.frame_rule": "middle"}, "config.data.frame_rule: 'middle'"),
        ("vop", {"data.frames": 0}, "config.data.frames=0 must be at least 1"),
        ("vop", {"clip_norm": -1.0}, "config.clip_norm=-1.0 must be a finite number, at least 0"),
        (
            "vop",
            {"protocol": "few_shot", "data.name": "emoji_scenes"},
            "'vop' works on videos and texts, not on single",
        ),
        ("vop_p", {"data.frames": 2}, "data.frames=2: .* give --config.settings.frames=2 too"),
        ("vop_p", {"settings.frames": 3, "data.test_frames": 6}, "leave test_frames at 0"),
        ("vop", {"data.test_passes": 2}, "test_passes=2: it must divide the 3 frames of a test"),
        ("vop", {"data.test_passes": 3, "data.frame_rule": "second"}, "must be centre or random"),
        ("prompt_switch", {}, "config.data.frames=3: .* a multiple of 6 frames; use 6"),
        (
            "prompt_switch",
            {"settings.prompts": 3, "data.test_frames": 8},
            "config.data.test_frames=8: .* a multiple of 3 frames; use 6, or change its settings",
        ),
        ("vop", {"batch_size": 1}, "config.batch_size=1: vop .*, so it must be at least 2"),
        ("vop", {"data.shots": 4}, "config.data.shots=4: retrieval draws no shots"),
    ],
)
def test_a_user_error_is_one_line(clip, tmp_path, method, changes, expected):
    config = config_of(clip, method)
    config.update_from_flattened_dict(changes)
    with pytest.raises((PromptError, DataError), match=expected):
        experiment.run(config, tmp_path)


def test_a_list_of_data_sets_replaces_the_embedded_one():
    config = configs.get_config("vop")
    config.data.names = "msrvtt_9k,emoji_clips:time"
    found = [(one.data.name, one.data.domain) for one in sweep.expand(config).values()]
    assert found == [("msrvtt_9k", ""), ("emoji_clips", "time")]
    config.data.name = "msvd"
    with pytest.raises(PromptError, match="config.data.name=msvd and config.data.names=.* both"):
        sweep.expand(config)


def test_methods_have_a_config_if_they_have_a_recipe():
    for name, record in methods.RECORDS["videos"].items():
        if record.recipe("retrieval"):
            assert configs.get_config(name).protocol == "retrieval"
        else:
            with pytest.raises(PromptError, match=f"videos and captions '{name}'"):
                configs.get_config(name)
    with pytest.raises(PromptError, match="coop"):
        configs.get_config("coop")
