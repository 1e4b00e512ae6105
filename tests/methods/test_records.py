"""Records and annotated shapes match the methods; documents name all methods."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.configs import recipes
from experiments.figures.papers import published
from prompt_jax import methods
from prompt_jax.export import source
from prompt_jax.methods import images
from prompt_jax.methods.method import zero
from prompt_jax.methods.record import NEEDS_TEXTS, SEES_AT_TEST, SEES_IN_TRAINING

REPOSITORY = Path(__file__).parents[2]
sys.path.insert(0, str(REPOSITORY / "docs"))
import method_tables  # noqa: E402

RECORDS = [one for table in methods.RECORDS.values() for one in table.values()]
SIZES = {"base_to_novel": {3}, "few_shot": {4}, "supervised": {1, 2}, "retrieval": {4, 10}}


@pytest.mark.parametrize("record", RECORDS, ids=lambda one: f"{one.kind}-{one.name}")
def test_a_record_matches_its_method(record):
    for protocol in record.recipes:
        config = recipes.get_config(record.name, protocol, record.kind)
        assert record.method.Settings(**config.settings.to_dict())
    assert record.sees_at_test in ("", *SEES_AT_TEST)
    assert record.at_test().removesuffix(f", {NEEDS_TEXTS}") in SEES_AT_TEST
    assert record.sees_in_training in SEES_IN_TRAINING
    # Only a method that takes several images at once can depend on them.
    in_blocks = getattr(record.method, "block", zero) is not zero
    assert in_blocks == (record.sees_at_test == "a batch")
    assert not record.export or record.export in source.methods()
    for row in record.published:
        sizes = {len(figures) for figures in row.figures.values()}
        assert sizes <= SIZES.get(row.protocol, {1})


def test_image_methods_have_a_recipe_for_every_protocol():
    for record in methods.RECORDS["images"].values():
        assert record.recipe("few_shot") and record.recipe("cross_dataset")


def test_two_records_with_one_name_are_rejected(tmp_path, monkeypatch):
    (tmp_path / "other.py").write_text("from prompt_jax.methods.images.coop import RECORD\n")
    monkeypatch.setattr(images, "other", None, raising=False)  # removed afterwards
    monkeypatch.setattr(images, "__path__", [*images.__path__, str(tmp_path)])
    name = f"{images.__name__}.other"
    monkeypatch.setitem(sys.modules, name, None)
    del sys.modules[name]
    with pytest.raises(ValueError, match=r"coop\.py and other\.py both have a record named 'coop'"):
        methods._list_records("images")


def test_the_tables_of_methods_are_those_of_the_records():
    readme, page = (one.read_text(encoding="utf-8") for one in method_tables.PAGES)
    assert [method_tables.rewrite(one) for one in (readme, page)] == [readme, page]
    assert "\n".join(method_tables.short_table()) in readme
    for kind, records in methods.RECORDS.items():
        written = "\n".join(method_tables.table(kind))
        assert written in page
        for one in records.values():
            assert f"`{one.name}`" in readme
            config = method_tables.config(one)
            assert f"| {one.title} | `{config}` | {one.paper} |" in written
            assert (method_tables.CONFIGS[kind] / config.partition(":")[0]).is_file()


def test_the_tables_say_what_a_method_sees(monkeypatch):
    coop = methods.RECORDS["images"]["coop"]
    other = dataclasses.replace(coop, sees_at_test="a batch", sees_in_training="no labels")
    monkeypatch.setitem(methods.RECORDS["images"], "coop", other)
    [row] = [line for line in method_tables.table("images") if line.startswith("| CoOp |")]
    assert row.endswith(" | prompts in the text, without labels | a batch |")
    assert "| `coop`ᵇᵘ `cocoop` " in "\n".join(method_tables.short_table())


def test_an_image_method_sees_one_video_where_it_averages_frames():
    coop = methods.RECORDS["images"]["coop"]
    assert [coop.at_test(), coop.at_test("videos")] == ["one image", "one video"]
    assert dataclasses.replace(coop, sees_at_test="a batch").at_test("videos") == "a batch"


def test_methods_that_need_texts_of_new_classes_say_so():
    images = methods.RECORDS["images"]
    assert images["description"].at_test() == "one image, texts of new classes"
    assert images["description"].at_test("videos") == "one video, texts of new classes"
    assert images["fudd"].at_test() == "one image, texts of new classes"
    assert methods.RECORDS["videos"]["ez_clip"].at_test() == "one video, texts of new classes"
    # Its sentences only enter the loss; factors are of the data set, not of a class.
    assert images["biomedcoop"].at_test() == images["perception_clip"].at_test() == "one image"


def test_methods_that_train_nothing_say_so():
    nothing = {one.name for one in RECORDS if one.sees_in_training == "nothing"}
    assert "zero_shot" in nothing and "coop" not in nothing


def test_variants_are_equal_if_their_numbers_are():
    assert [row.variant for row in published.rows("images", "pro_mpt", "base_to_novel")] == [""] * 2
    [row] = published.rows("images", "pro_mpt", "base_to_novel", "loss_decay", "lambda=1.0")
    assert row.figures["average"] == (80.94, 74.89, 77.80)


@pytest.mark.slow
def test_every_method_keeps_the_shapes_of_its_annotations():
    """Runs in a separate process, because annotations are checked from the import on."""
    checked_shapes = REPOSITORY / "tests" / "helpers" / "checked_shapes.py"
    done = subprocess.run(
        [sys.executable, checked_shapes],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    images, videos, adapted = map(int, done.stdout.split())
    assert images >= len(methods.METHODS) and videos >= len(methods.ENCODERS) and adapted == 4
