"""The command that repeats published tables: on a made-up table, and on real images."""

import argparse
import dataclasses
import hashlib
from pathlib import Path

import pytest

from experiments.reproduce import (
    __main__ as command,
)
from experiments.reproduce import (
    measuring,
    needs,
    published_tables,
    report,
    timing,
    weights,
    zero_shot,
)
from experiments.reproduce.published_tables import TABLES, PublishedTable
from experiments.run import sweep
from prompt_jax import methods
from prompt_jax.errors import PromptError
from prompt_jax.methods.record import Published

SCENES = "emoji_scenes:night"
SOURCE = "Made-up, Table 1"
# Of other backbones; their average is over data sets that are not in the table of data sets.
NOT_REPEATED = {"README of HealthX-Lab/BiomedCoOp"}
SMALL = {"data.test_per_class": 2, "data.num_threads": 0, "epochs": 1, "data.shots": 1}


def made_up(zero, coop, names=(SCENES,), **changes):
    """Returns a table with the same figures for each data set."""
    printed = (("zero_shot", zero), ("coop", coop))
    rows = tuple(
        (name, Published("base_to_novel", dict.fromkeys(names, row), SOURCE, backbone="embedded"))
        for name, row in printed
        if row
    )
    return PublishedTable(SOURCE, "base_to_novel", rows, changes=changes)


def options(workdir: Path, root="", **more):
    usual = {"backbone": "embedded", "seeds": [1, 2], "needs": False, "untimed": True}
    given = usual | {"anyway": False} | more
    return argparse.Namespace(root=str(root), workdir=workdir, **given)


SCENES_ONLY = SMALL | {"data.num_classes": 4}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, module_capture):
    """Runs a made-up table: stopped by wrong zero-shot figures, then with the right ones."""
    folder = tmp_path_factory.mktemp("made-up")
    wrong = made_up((1.0, 2.0, 3.0), (60.0, 50.0, 55.0), **SCENES_ONLY)
    with pytest.raises(PromptError) as stopped:
        command.reproduce(wrong, options(folder))
    trained = [*folder.rglob("coop")]
    cells = measuring.cells(folder, "base_to_novel", "")["zero_shot", ""]
    zero = tuple(cells[SCENES, metric].mean for metric in ("base", "new", "h"))
    table = made_up(zero, (60.0, 50.0, 55.0), **SCENES_ONLY)
    module_capture()
    command.reproduce(table, options(folder, untimed=False))
    return folder, table, str(stopped.value), trained, module_capture()


@pytest.fixture(scope="module")
def module_capture():
    """Returns a function that returns what was printed since its last call."""
    import contextlib
    import io

    stream = io.StringIO()
    with contextlib.redirect_stdout(stream):

        def read():
            text = stream.getvalue()
            stream.seek(0)
            stream.truncate()
            return text

        yield read


def test_nothing_is_trained_if_zero_shot_figures_differ(finished):
    _, _, stopped, trained, _ = finished
    assert "zero-shot CLIP on emoji_scenes:night, base:" in stopped
    assert "published 1.00" in stopped and "nothing was trained; --anyway" in stopped
    assert not trained


def test_it_says_what_it_needs_first_and_resumes(finished):
    *_, printed = finished
    order = ["Table 1 needs:", "Emoji scenes: here", "3 runs", "time on this machine", "coop:"]
    order += ["Weights: the embedded", "zero-shot CLIP:", "equal", "[3/3]", "reproduced.md"]
    places = [printed.index(text) for text in order]
    assert places == sorted(places)
    assert printed.count("already finished") == 2  # zero-shot, in the check and as a row


def test_measured_published_and_difference_stand_in_both_files(finished):
    folder, table, *_ = finished
    found = report.lines(table, folder)
    assert [line.label for line in found] == ["zero_shot"] * 3 + ["coop"] * 3
    coop = found[3]
    assert coop.seeds == [1, 2] and coop.cell.deviation is not None and coop.cell.interval
    markdown = (folder / "tables/reproduced.md").read_text()
    difference = f"{coop.cell.mean - 60:+.2f}"
    assert f"{coop.cell.text(intervals=True)} |     60.00 |" in markdown
    assert difference in markdown and "3 figures are equal to the published ones" in markdown
    tex = (folder / "tables/reproduced.tex").read_text()
    assert r"\toprule" in tex and f"& 60.00 & {difference} & 1, 2 \\\\" in tex
    assert (folder / "tables/base_to_novel.tex").is_file()


def test_a_row_without_runs_is_not_measured(finished):
    folder, table, *_ = finished
    rows = (*table.rows, ("maple", table.rows[0][1]))
    more = report.lines(dataclasses.replace(table, rows=rows), folder)
    assert more[-1].texts[3:] == ["not measured", f"{more[-1].published:.2f}", "", ""]


@pytest.mark.slow
def test_real_images_of_a_part_of_the_benchmark(shared, tmp_path, capsys):
    names, root = ("caltech101", "dtd"), shared / "data"
    table = made_up((84.0, 90.0, 86.9), (), names)
    with pytest.raises(PromptError) as stopped:
        command.reproduce(table, options(tmp_path, root))
    said = str(stopped.value)
    assert "what differs: split: 1,175 of 2,465 test images" in said
    assert "what differs: split: 10 of 47 classes, 240 of 1,692 test images" in said
    assert "Caltech101: here, 0.0" in (shown := capsys.readouterr().out)
    assert "DTD: here, 0.0" in shown and "differs from the published one" in shown
    one = made_up((84.0, 90.0, 86.9), (), names[1:])
    command.reproduce(one, options(tmp_path, root, seeds=[1], anyway=True))
    assert "continued, although it deviates" in capsys.readouterr().out
    text = (tmp_path / "tables/reproduced.md").read_text()
    assert "Not comparable with the published figures: zero-shot CLIP on dtd, base" in text
    assert text.count("| zero_shot |") == 3 and "not measured" not in text


def test_preprocessing_and_template_are_named_if_they_differ():
    one = {"dataset": "dtd", "accuracy": {}, "config": {"data": {"template": "a {}."}}}
    one["preprocessing"] = {"resize": "squash"}
    said = zero_shot.explain("dtd", [one], {}, ["another split"])
    assert "template: 'a {}.', published '{} texture.'" in said
    assert "preprocessing: resize squash" in said and "split: another split" in said
    same = {"dataset": "dtd", "accuracy": {}, "config": {"data": {}}}
    assert "so check the weights" in zero_shot.explain("dtd", [same], {})


def test_missing_data_sets_are_named_with_their_size(tmp_path, capsys):
    table = published_tables.find("prompt-3")
    given = options(tmp_path / "runs", tmp_path, backbone="ViT-B/16")
    with pytest.raises(PromptError, match=r"imagenet, .*imagenet_r cannot be read below --root"):
        command.reproduce(table, given)
    shown = capsys.readouterr().out
    assert "ImageNet: missing, about 155 GB to download" in shown
    assert "to download: about 167 GB" in shown
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", TABLES)
def test_every_table_has_rows_and_runs(name):
    table = TABLES[name]
    assert {row.backbone for _, row in table.rows} == {table.backbone}
    config = published_tables.config(table, "/data", table.backbone)
    runs = sweep.expand(config)
    assert {one.method for one in runs.values()} == {*table.methods}
    assert {one.protocol for one in runs.values()} == {table.protocol}
    if table.ablation:
        assert {one.variant for one in runs.values()} == {row.variant for _, row in table.rows}
    read = set(published_tables.data_sets(config))
    assert read >= {*table.names}
    checks, _ = zero_shot.plan(table, sorted(read))
    for check in checks:
        place = "/data", table.backbone, (), [table.zero_shot]
        sweep.expand(published_tables.config(table, *place, check.protocol, check.names))


def test_every_published_row_is_in_a_table():
    there = {id(row) for table in TABLES.values() for _, row in table.rows}
    # Ablations without printed numbers, apart from the method's own setting.
    kept = {"vision_prompts", "context_length", "vision_depth", "loss_decay"}
    left = {
        row.source
        for records in methods.RECORDS.values()
        for record in records.values()
        for row in record.published
        if id(row) not in there and row.ablation not in kept and record.name != "zero_shot"
    }
    assert left == NOT_REPEATED


def test_the_page_names_every_table():
    page = Path(__file__).parents[2] / "docs/reproduce.md"
    text = page.read_text(encoding="utf-8")
    between = {"prompt-2", "prompt-3", "prompt-4", *(f"vilt-{number}" for number in range(2, 6))}
    assert not [name for name in TABLES.keys() - between if f"`{name}`" not in text]


def test_figures_of_images_are_checked_by_base_to_novel_and_its_average():
    table = published_tables.find("prompt-2")
    names = ["imagenet", *table.names]
    [check], alone = zero_shot.plan(table, list(dict.fromkeys(names)))
    assert check.protocol == "base_to_novel" and len(check.names) == 11
    assert "sun397" in alone and "imagenet" not in alone
    part, _ = zero_shot.plan(table, ["dtd", "eurosat"])
    assert part[0].names == ["eurosat"]


def test_parts_of_a_table():
    table = published_tables.find("prompt-1")
    part = published_tables.select(table, ["coop"], [])
    assert part.methods == ["coop"] and {*part.names} == {*table.names}
    part = published_tables.select(table, ["pro_mpt"], ["eurosat"])
    assert part.rows[0][1].figures == {"eurosat": (92.47, 76.03, 83.45)}
    with pytest.raises(PromptError, match="unknown method of this table 'maple'"):
        published_tables.select(table, ["maple"])
    with pytest.raises(PromptError, match="prints no figures"):
        published_tables.select(table, ["coop"], ["eurosat"])
    with pytest.raises(PromptError, match="unknown table 'prompt-9'"):
        published_tables.find("prompt-9")
    with pytest.raises(PromptError, match="--seeds: 'x' must be a whole number"):
        command.parse(["prompt-1", "--root=/data", "--seeds=1,x"])


def test_weights_are_checked_by_openai_s_hashes(tmp_path, monkeypatch):
    path = tmp_path / "ViT-B-16.pt"
    path.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    with pytest.raises(PromptError, match="is not OpenAI's ViT-B/16: its SHA-256 is"):
        weights.check(str(path), "ViT-B/16")
    monkeypatch.setitem(weights.OPENAI_SHA256, "ViT-B/16", digest)
    assert digest[:12] in weights.check(str(path), "ViT-B/16")
    with pytest.raises(PromptError, match="is OpenAI's ViT-B/16; the published figures are of"):
        weights.check(str(path), "ViT-B/32")
    with pytest.raises(PromptError, match="the published figures are of ViT-B/16"):
        weights.check("ViT-L/14", "ViT-B/16")
    with pytest.raises(PromptError, match="no such file"):
        weights.check("/nowhere/ViT-B-16.pt", "ViT-B/16")


def test_weights_from_the_hub_are_checked_by_the_hash_it_lists(tmp_path, monkeypatch):
    blob = tmp_path / hashlib.sha256(b"weights").hexdigest()
    blob.write_bytes(b"weights")
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    (snapshot / "config.json").write_text('{"model_type": "clip"}')
    linked = snapshot / "model.safetensors"
    linked.symlink_to(blob)
    monkeypatch.setattr(weights, "download", lambda hub_id: snapshot)
    monkeypatch.setattr(weights, "find_weights", lambda folder: folder / linked.name)
    assert "that the Hugging Face hub lists" in weights.check("ViT-B/16", "ViT-B/16")
    blob.write_bytes(b"damaged")
    with pytest.raises(PromptError, match="is damaged"):
        weights.check("openai/clip-vit-base-patch16", "ViT-B/16")
    linked.unlink()
    linked.write_bytes(b"weights")
    with pytest.raises(PromptError, match="no published hash"):
        weights.check(str(snapshot), "ViT-B/16")


def test_work_follows_from_published_counts():
    table = published_tables.find("prompt-1")
    config = published_tables.config(table, "/data", "ViT-B/16", [1], ["coop"])
    runs = {one.data.name: one for one in sweep.expand(config).values()}
    assert needs.work(runs["imagenet"], {}) == timing.Work(500, 8000, 50_000, 500)
    assert needs.work(runs["dtd"], {}) == timing.Work(24, 384, 1692, 24)
    vop = published_tables.config(published_tables.find("vop-1"), "/data", "ViT-B/32", [1])
    assert needs.work(next(iter(sweep.expand(vop).values())), {}) is None


def test_time_is_linear_in_the_number_of_classes():
    assert timing.along([1.0, 2.0], [10, 20], 40) == pytest.approx(4.0)
    assert timing.along([2.0, 1.0], [10, 20], 40) == pytest.approx(2.0)  # noise is not a slope
    assert timing.along([3.0], [10], 40) == 3.0
    assert timing.in_words(5400) == "1.5 h" and timing.in_words(90) == "2 min"
