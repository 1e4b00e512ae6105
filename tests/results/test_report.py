"""The HTML page about finished runs: its content, and no requests to a network."""

import json
import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import tiny
from PIL import Image

from experiments import evaluate
from experiments.cli.command_line import explain
from experiments.configs import default
from experiments.report import __main__ as report
from experiments.report import curves, page
from experiments.report import finished as finished_runs
from experiments.report.blocks import Bar, Card, Gallery, Plot, Section, Table, Text
from experiments.report.sections import iterations, retrieval
from experiments.run import experiment
from prompt_jax.errors import PromptError

HOSTILE = "<script>alert(1)</script>"
VOID = {"meta", "img", "br", "link", "input"}


class PageParser(HTMLParser):
    """Parses a page's elements; raises if tags do not match."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict]] = []
        self.words = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data

    def all(self, tag: str) -> list[dict]:
        return [attrs for name, attrs in self.elements if name == tag]


def read(text: str) -> PageParser:
    """Reads a page, and checks that it is self-contained."""
    found = PageParser(text)
    assert not found.all("script") and not found.all("link")
    for _, attrs in found.elements:
        for name, value in attrs.items():
            if name in ("src", "href", "xlink:href", "data", "action"):
                assert value.startswith(("data:", "#")), (name, value)
    assert not re.search(r"url\((?!#)|@import", text)
    for image in found.all("img"):
        assert int(image["width"]) > 0 and int(image["height"]) > 0 and image["alt"]
    ids = [attrs["id"] for _, attrs in found.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    return found


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """Returns the directory of the tiny CLIP."""
    return tiny.save_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Writes image files of classes with malicious names."""
    root = tiny.save_caltech101(tmp_path_factory.mktemp("data"))
    file = root / "caltech-101" / tiny.SPLIT
    split = json.loads(file.read_text())
    for part in split.values():
        for line in part:
            line[2] += HOSTILE
    file.write_text(json.dumps(split))
    return root


@pytest.fixture(scope="module")
def finished(clip, data, tmp_path_factory) -> Path:
    """Returns a run of ProMPT on them."""
    folder = tmp_path_factory.mktemp("runs") / "pro_mpt"
    experiment.run(tiny.small_config("pro_mpt", clip, data), folder)
    return folder


@pytest.fixture(scope="module")
def retrieval_run(clip, tmp_path_factory) -> Path:
    """Returns a run on captions."""
    c = default.get_config("vop", kind="videos", text_prompts=1, vision_prompts=2)
    c.backbone, c.protocol, c.data.name = str(clip), "retrieval", "emoji_clips"
    c.data.frames, c.data.num_threads = 2, 0
    c.data.train_per_class = c.data.test_per_class = 1
    c.batch_size, c.eval_batch_size, c.epochs, c.log_every = 11, 33, 1, 1
    folder = tmp_path_factory.mktemp("runs") / "vop"
    experiment.run(c, folder)
    return folder


@pytest.mark.slow
def test_a_run_on_images_is_one_page(finished, tmp_path, capsys):
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    out = tmp_path / "page.html"
    assert explain(report.start, [str(finished), "--out", str(out)]) == 0
    assert str(out) in capsys.readouterr().out
    text = out.read_text(encoding="utf-8")
    found = read(text)
    sections = ("Overview", "Training", "Data", "Mistakes", "Iterations",
                "Words nearest to the context", "Attention of the image tower",
                "Features before and after")  # fmt: skip
    for words in (
        *sections,
        "95\N{NO-BREAK SPACE}% interval",
        "Calibration error",
        "zero-shot CLIP",
        " epochs, batches of ",
        HOSTILE,
    ):
        assert words in found.words
    assert found.all("img") and len(found.all("figure")) > 3
    [fold] = found.all("details")
    labels = [one.get("aria-label") or "" for one in found.all("figure")]
    assert labels[0].startswith("Accuracy") and labels[0].endswith("hollow: zero-shot CLIP")
    results = json.loads((finished / "results.json").read_text())
    assert f"H is {results['h']:.2f}" in found.words
    assert {p: p.read_bytes() for p in finished.rglob("*") if p.is_file()} == before


@pytest.mark.slow
def test_several_runs_are_side_by_side(finished, retrieval_run, tmp_path):
    first = tmp_path / "copy"
    shutil.copytree(retrieval_run, first)
    report.start([str(first), str(finished)])
    found = read((first / "report.html").read_text(encoding="utf-8"))
    for words in ("Mistakes: pro_mpt", "Captions: vop", "text-to-video", "R@10"):
        assert words in found.words
    [label] = [one for one in found.all("figure") if "hollow" in (one.get("aria-label") or "")]
    assert label["aria-label"].startswith("R@1, text-to-video or accuracy (%)")
    lines = retrieval.read(report.open_all(report.read_all([retrieval_run]))[0], "test")
    [caption] = {line.caption for line in retrieval.choose(lines)["improved most"][:1]}
    assert f"“{caption}”" in found.words
    assert sum("rank " in one for one in found.words.splitlines()) >= 4


@pytest.mark.slow
def test_files_of_another_run_are_not_shown(finished, retrieval_run, data, clip, tmp_path, capsys):
    root, copy = tmp_path / "data", tmp_path / "copy"
    shutil.copytree(data, root)
    experiment.run(tiny.small_config("coop", clip, root), copy)
    out = tmp_path / "page.html"

    def words():
        assert explain(report.start, [str(copy), "--out", str(out)]) == 0
        return read(out.read_text(encoding="utf-8")).words

    tested = report.open_all(report.read_all([copy]))[0].tests["new"]
    assert tested.folder
    first = tested.folder / tested.test[0].image
    kept = first.read_bytes()
    first.write_bytes(kept + b" ")
    assert "was tested (new) on other images than the current ones" in words()
    first.write_bytes(bytes(len(kept)))  # of the same size, or no values left
    assert "Mistakes" in words()
    first.write_bytes(kept)
    for other in (finished / "predictions-base.parquet", retrieval_run / "predictions-test.parquet"):
        shutil.copy(other, copy / "predictions-new.parquet")
        capsys.readouterr()
        assert explain(report.start, [str(copy), "--out", str(out)]) == 0
        assert "predictions-new.parquet is left out, because it is" in capsys.readouterr().err


@pytest.mark.slow
def test_images_are_those_that_were_tested(finished, clip, tmp_path):
    """Tests runs with excluded images and evaluations too."""
    root = tiny.save_caltech101(tmp_path / "data")
    config = tiny.small_config("zero_shot", clip, root)
    config.protocol, config.data.on_bad_image = "few_shot", "skip"
    first = sorted((root / "caltech-101/101_ObjectCategories").rglob("*.jpg"))
    for path in first[::3]:
        path.write_text("no image")
    skipping = tmp_path / "run"
    assert experiment.run(config, skipping)["skipped_pictures"]
    [evaluation], _ = evaluate.evaluate([finished], ["caltech101:new"], {
        "data.root": str(root), "data.on_bad_image": "skip", "data.num_threads": 0
    })  # fmt: skip
    for run in report.open_all(report.read_all([skipping, evaluation.parent])):
        [(key, tested)] = run.tests.items()
        rows = run.predictions(key)
        assert not run.missing and [row["path"] for row in rows] == [e.image for e in tested.test]
        assert all(run.images(key, place) for place in range(len(rows)))
    report.start([str(evaluation.parent)])
    text = (evaluation.parent / "report.html").read_text(encoding="utf-8")
    assert "Mistakes" in read(text).words


def test_without_its_data_a_run_has_no_images(finished, data, tmp_path, capsys):
    gone, out = data.with_name("gone"), tmp_path / "page.html"
    data.rename(gone)
    try:
        assert explain(report.start, [str(finished), "--out", str(out)]) == 0
    finally:
        gone.rename(data)
    found = read(out.read_text(encoding="utf-8"))
    assert "shown without its images: " in found.words
    assert not found.all("img") and "Iterations" in found.words


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (["nothing"], "holds no results.json of a finished run; pass a run directory"),
        (["run", "run"], "is named twice"),
    ],
)
def test_user_errors_are_one_line(finished, tmp_path, capsys, folders, message):
    words = [str(finished if name == "run" else tmp_path) for name in folders]
    assert explain(report.start, words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and message in error
    assert not (finished / "report.html").exists()


def test_an_unwritable_file_is_named(tmp_path):
    for path in (tmp_path / "no" / "page.html", tmp_path):
        with pytest.raises(PromptError, match=r"--out=.*cannot be written"):
            page.check(path)
        with pytest.raises(PromptError, match=r"--out=.*cannot be written"):
            page.write(path, "title", [])


def test_only_an_earlier_page_is_replaced(tmp_path, finished, capsys):
    page.check(tmp_path / "new.html")
    page.write(tmp_path / "page.html", "title", [])
    page.check(tmp_path / "page.html")
    notes = tmp_path / "notes.html"
    notes.write_text("my own")
    assert explain(report.start, [str(finished), "--out", str(notes)]) == 2
    assert "exists and is not a report" in capsys.readouterr().err
    assert notes.read_text() == "my own"


def test_any_content_of_a_block_is_text():
    image = Image.new("RGB", (8, 4))
    card = Card([image, image], HOSTILE, [HOSTILE], [Bar(HOSTILE, [0.5, 1.0], right=True)])
    blocks = [Text(HOSTILE), Table([HOSTILE], [[HOSTILE]], HOSTILE), Gallery([card], HOSTILE)]
    blocks.append(Plot(curves.draw({HOSTILE: [(1, 2.0)], "b": [(1, 1.0)]}, HOSTILE), HOSTILE))
    quoted = f'"{HOSTILE}'
    text = page.render(quoted, [Section(quoted, [*blocks, Text("\udcff")])])
    found = read(text)
    assert found.all("img")[0]["alt"].startswith(HOSTILE)
    assert [one["width"] for one in found.all("rect")[:2]] == ["50.0", "100.0"]


def test_figures_share_no_ids_and_have_the_page_s_color():
    one, other = (curves.draw({"a": [(1, 2.0), (2, 1.0)]}, words) for words in ("loss", "rate"))
    assert one == curves.draw({"a": [(1, 2.0), (2, 1.0)]}, "loss")
    ids = [set(re.findall(r'\bid="(.*?)"', svg)) for svg in (one, other)]
    assert ids[0] and not ids[0] & ids[1]
    assert set(re.findall(r"url\(#(.*?)\)", one)) <= ids[0]
    assert "currentColor" in one and "#000000" not in one and "<metadata" not in one


def test_images_that_change_most_over_iterations_come_first():
    def row(name, before, after):
        return {
            "class": name,
            "path": f"{name}{before}",
            "top5_after_0": ["a", "b"] if before >= 0.5 else ["b", "a"],
            "probabilities_after_0": sorted([before, 1 - before], reverse=True),
            "top5": ["a", "b"] if after >= 0.5 else ["b", "a"],
            "probabilities": sorted([after, 1 - after], reverse=True),
        }

    rows = [row("a", 0.4, 0.6), row("a", 0.1, 0.9), row("a", 0.8, 0.9), row("b", 0.3, 0.8)]
    predictions = iterations.read(rows)
    assert [one.place for one in iterations.changed_most(predictions, corrected=True)] == [1, 0]
    assert [one.place for one in iterations.changed_most(predictions, corrected=False)] == [3]
    assert iterations.read([{"class": "a", "top5": ["a"]}]) == []


def test_runs_are_labeled_by_what_distinguishes_them():
    def run(method, seed=1, dataset="birds", shots=16, protocol="few_shot"):
        reported = {"seed": seed, "dataset": dataset, "shots": shots, "protocol": protocol}
        return {"method": method, "accuracy": {"test": 50.0, "cars": 40.0}, **reported}

    runs = [run("coop"), run("coop", 2), run("coop", 2, "cars"), run("gda"), run("vpt"), run("vpt")]
    runs += [run("maple"), run("maple", protocol="evaluation")]
    labels = finished_runs._labels({Path(str(place)): one for place, one in enumerate(runs)})
    assert labels == [
        "coop (birds, seed 1)",
        "coop (birds, seed 2)",
        "coop (cars, seed 2)",
        "gda",
        "vpt (4)",
        "vpt (5)",
        "maple (birds)",
        "maple (test, cars)",
    ]


def test_without_jinja2_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(PromptError, match=r"install it: .venv/bin/pip install -e '.\[report\]'"):
        page.render("title", [])
