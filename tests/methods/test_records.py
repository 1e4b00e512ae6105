"""Records and annotated shapes match the methods; documents name all methods."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.configs import recipes
from experiments.figures.papers import published
from prompt_jax import methods
from prompt_jax.export import source

REPOSITORY = Path(__file__).parents[2]
RECORDS = [one for table in methods.RECORDS.values() for one in table.values()]
SIZES = {"base_to_novel": {3}, "few_shot": {4}, "supervised": {1, 2}, "retrieval": {4, 10}}


@pytest.mark.parametrize("record", RECORDS, ids=lambda one: f"{one.kind}-{one.name}")
def test_a_record_matches_its_method(record):
    for protocol in record.recipes:
        config = recipes.get_config(record.name, protocol, record.kind)
        assert record.method.Settings(**config.settings.to_dict())
    assert not record.export or record.export in source.methods()
    for row in record.published:
        sizes = {len(figures) for figures in row.figures.values()}
        assert sizes <= SIZES.get(row.protocol, {1})


def test_image_methods_have_a_recipe_for_every_protocol():
    for record in methods.RECORDS["images"].values():
        assert record.recipe("few_shot") and record.recipe("cross_dataset")


def test_the_readme_s_table_states_the_protocols_of_each_method():
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    [row] = re.findall(r"\| prompts in the text .*\n.*\n(.*)\n", text)
    cells = [re.findall(r"`(\w+)`", cell) for cell in row.split("|")[1:-1]]
    tuned = ("text", "images", "both", "features")
    for names, place in zip(cells, tuned, strict=True):
        assert len(names) > 0 and {methods.RECORDS["images"][name].tunes for name in names} == {
            place
        }


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
    assert images >= len(methods.METHODS) and videos >= len(methods.ENCODERS) and adapted == 3
