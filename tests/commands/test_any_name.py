"""Any name is printed safely: as one line, without control codes or markup."""

import contextlib
import csv
import io
import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_predict import ODD

from data_pipelines.batches.options import ReadOptions
from data_pipelines.examples import Dataset, Example
from experiments.figures import long, tables
from experiments.record.files import confusions, ranks
from experiments.setup import overview
from experiments.setup.batches import RunBatches
from experiments.setup.plans import Plan
from prompt_jax.cli import progress
from prompt_jax.errors import BadImage, DataError, PromptError, escape
from prompt_jax.inputs.augmenting import Augmentation
from prompt_jax.inputs.preparation import Inputs
from prompt_jax.models import cards
from prompt_jax.text import class_names
from prompt_jax.text.class_names import Classes

NAMES = st.text(min_size=1, max_size=10) | st.sampled_from([*ODD, ":cat:", "[/]", "[bold", "a\rb"])
EXAMPLES = settings(deadline=None, derandomize=True, database=None, max_examples=60)


def is_safe(line):
    return all(character.isprintable() or character in "\u200c\u200d" for character in line)


@EXAMPLES
@given(NAMES)
@example("a\x9b31mb")
def test_escaped_text_is_one_safe_line_and_safe_text_stays(name):
    assert is_safe(escape(name))
    assert escape(name) == name or not is_safe(name)


@EXAMPLES
@given(NAMES, NAMES)
def test_the_overview_at_the_start_of_a_run(name, title):
    names = class_names.distinct([name, "b"])
    test = tuple(Example(f"{name}.jpg", label, one) for label, one in enumerate(names))
    dataset = Dataset("csv", "{}", test, (), test, open, notes=(f"note of {name}",))
    bad = ((name, "no image"),)
    plan = Plan(
        dataset,
        {title: dataset},
        {},
        RunBatches(Inputs.of(32), Augmentation(), 4, 4, 1, ReadOptions()),
        bad=bad,
    )
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(DataError):
        overview.show(plan, 1, True)
    lines = out.getvalue().removesuffix("\n").split("\n")
    assert all(map(is_safe, lines)), lines
    table = [line for line in lines if re.match(r"(train|test) (?!\()", line)]
    assert len(table) == 2
    lists = [line for line in lines if re.match(r"(train|test) \(", line)]
    assert len(lists) == 1  # test has the same classes
    assert sum(line.startswith("excluded: 1 unreadable images") for line in lines) == 1


@EXAMPLES
@given(NAMES, NAMES)
def test_lines_of_a_progress_bar(title, words):
    out = io.StringIO()
    with contextlib.redirect_stderr(out), progress.bar(title, 2) as advance:
        advance(2, words)
    [line, end] = out.getvalue().split("\n")
    assert is_safe(line) and not end


@EXAMPLES
@given(NAMES, NAMES)
def test_error_messages(image, reason):
    for error in (BadImage(image, reason), DataError(image), PromptError(reason)):
        lines = str(error).split("\n")
        assert all(map(is_safe, lines))
    assert len(str(BadImage(image, reason)).split("\n")) == 1


@EXAMPLES
@given(st.lists(NAMES, min_size=2, max_size=4))
def test_confusions_are_read_as_written(tmp_path_factory, names):
    shown = class_names.distinct([escape(name) for name in names])
    path = tmp_path_factory.mktemp("run") / "confusion-test.csv"
    confusions.write(path, shown, np.ones((len(names), len(names)), int))
    lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    assert len(lines) == 1 + len(names) ** 2 and all(map(is_safe, lines))
    read = confusions.read(path)
    assert list(read.examples) == shown and set(read.counts.values()) == {1}


@EXAMPLES
@given(st.lists(NAMES, min_size=1, max_size=3))
def test_ranks_and_tables(tmp_path_factory, names):
    folder = tmp_path_factory.mktemp("run")
    lines = [ranks.Line(names[0], name, 1.0, 2.5) for name in names]
    ranks.write(folder / "ranks.csv", lines)
    long.write_csv(folder / "t.csv", [{"a": name, "b": 1} for name in names], ["a", "b"])
    for path, columns in {folder / "ranks.csv": 4, folder / "t.csv": 2}.items():
        text = path.read_bytes().decode().replace("\r\n", "\n")
        lines = text.removesuffix("\n").split("\n")
        assert len(lines) == 1 + len(names) and all(map(is_safe, lines))
        assert {len(row) for row in csv.reader(io.StringIO(text))} == {columns}
    kept = ranks.read(folder / "ranks.csv")
    assert [line.caption for line in kept] == [escape(name) for name in names]
    rows = tables.markdown(["name", "%"], [[name, "1"] for name in names]).splitlines()
    assert len(rows) == 2 + len(names) and all(map(is_safe, rows))
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {3}


@EXAMPLES
@given(st.lists(NAMES, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_every_class_is_found_in_any_order_of_any_names(names, random):
    order = list(range(len(names)))
    random.shuffle(order)
    found = class_names.find(Classes(tuple(names)), Classes(tuple(names[k] for k in order)))
    assert sorted(found) == list(range(len(names)))
    keys = list(map(class_names.key, names))
    assert [keys[label] for label in found] == [keys[k] for k in order]


@EXAMPLES
@given(NAMES)
@example("$a$ ~~b~~ &lt;")
def test_names_in_a_model_card_are_not_markdown(name):
    words = cards._in_words(name)
    assert is_safe(words)
    assert not re.search(r"(?<!\\)(?:\\\\)*[|<>`*\[\]$~&]", words)


@pytest.mark.parametrize("name", ["[red]x[/]", "[/]", ":cat:", "a\x1b[2Jb", "a\nb"])
def test_a_progress_bar_on_a_terminal_shows_names_unchanged(name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "xterm")
    out = io.StringIO()
    out.isatty = lambda: True
    monkeypatch.setattr("sys.stderr", out)
    with progress.bar(name, 2) as advance:
        advance(2, f"of {name}")
    shown = out.getvalue()
    assert escape(name) in shown and f"of {escape(name)}" in shown
    assert "\x1b[2J" not in shown and "a\nb" not in shown
