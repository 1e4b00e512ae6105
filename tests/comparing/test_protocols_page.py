"""The page on protocols is short, complete, and has the picture that its script draws."""

import sys
from pathlib import Path

from PIL import Image

from experiments.config.protocols import PROTOCOLS
from prompt_jax import methods
from prompt_jax.methods.record import NEEDS_TEXTS, SEES_AT_TEST, SEES_IN_TRAINING

DOCS = Path(__file__).parents[2] / "docs"
sys.path.insert(0, str(DOCS))
import protocols_figure  # noqa: E402

PAGE = (DOCS / "protocols.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("|")
]


def test_the_page_is_short():
    assert len(PAGE.split()) <= 700


def test_the_page_has_all_protocols():
    named = [row[0].strip("`") for row in ROWS if row[0].startswith("`")]
    assert sorted(named) == sorted(("--config.protocol", *PROTOCOLS))


def test_the_picture_has_the_page_s_protocols_and_what_predictions_see():
    rows = {row[0].strip("`"): row for row in ROWS}
    named = [one.name for one in protocols_figure.PROTOCOLS]
    assert named == [name for name in rows if name in PROTOCOLS]
    for one in protocols_figure.PROTOCOLS:
        protocol = PROTOCOLS[one.name]
        drawn = {box.color for box in one.train} - {protocols_figure.UNUSED}
        whole = protocols_figure.WHOLE if protocol.reads_labels else protocols_figure.UNLABELED
        assert drawn == {protocols_figure.SHOTS if protocol.draws_shots else whole}
        assert ("target" in str(one.test) or "sketches" in str(one.test)) == protocol.tests_others
        if protocol.tests_others:  # the source has test images, too
            assert one.test[0].text == one.train[0].text
    seen = {one.name for one in protocols_figure.SEEN}
    assert seen == {*SEES_AT_TEST, f"…, {NEEDS_TEXTS}"} - {"one video"}


def test_the_page_says_what_each_declared_value_means():
    meanings = {row[0]: row[1] for row in ROWS}
    for name, meaning in (SEES_AT_TEST | SEES_IN_TRAINING).items():
        assert meanings[name].startswith(meaning), name
    assert f"…, {NEEDS_TEXTS}" in meanings
    for records in methods.RECORDS.values():
        for record in records.values():
            assert record.at_test().removesuffix(f", {NEEDS_TEXTS}") in meanings


def test_the_picture_shows_the_rows_of_its_script(tmp_path):
    protocols_figure.draw(tmp_path / "drawn.png")
    with Image.open(tmp_path / "drawn.png") as drawn, Image.open(protocols_figure.PICTURE) as kept:
        # Sizes of text differ a little between versions of matplotlib.
        assert all(abs(a - b) <= 0.02 * b for a, b in zip(drawn.size, kept.size, strict=True))
        colors = [{rgb for _, rgb in one.convert("RGB").getcolors(2**24)} for one in (drawn, kept)]
    for color in ("SHOTS", "WHOLE", "UNLABELED", "TESTED", "UNUSED"):
        value = getattr(protocols_figure, color).removeprefix("#")
        rgb = tuple(bytes.fromhex(value))
        assert rgb in colors[0] and rgb in colors[1], color
