"""Names are printed literally in tables, on terminals and in Markdown."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from result_trees import put

from experiments import results
from experiments.cli.command_line import explain
from experiments.figures import drawing, tables
from prompt_jax.errors import escape

MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])
anything = st.text(st.characters(codec=None, exclude_categories=()), max_size=20)
marked = st.text(st.sampled_from("ab _*`~[]()<>|\\!#$&@:/.-+=1w\"'{}^\n"), max_size=20)
NAMES = (
    "pro_mpt", "_a_", "__init__", "*a*", "`a`", "~~a~~", "[a](http://b.c)", "![a](b)", "<b>a</b>",
    "a|b", "a\\", "a\\|b", "[a]: http://b.c", "# a", "- a", "1. a", "---", "===", "&lt;", "a\nb",
    "<http://a.b>", "[^1]", "$x$",
)  # fmt: skip


def shown(markdown: str) -> list[str]:
    """Returns the texts of a rendered page; raises if one of them is marked up."""
    found = []
    for token in MARKDOWN.parse(markdown):
        assert token.type not in ("html_block", "fence", "code_block", "hr", "bullet_list_open")
        if token.type == "inline":
            kinds = {child.type for child in token.children or ()}
            assert kinds <= {"text", "text_special"}, (markdown, kinds)
            found.append("".join(child.content for child in token.children or ()))
    return found


def all_examples(test):
    for name in NAMES:
        test = example(name)(test)
    return test


@all_examples
@given(anything | marked)
def test_any_name_is_text_in_markdown(name):
    plain = escape(name).strip()
    assert shown(tables.markdown(["a", name], [[name, "1"]])) == ["a", plain, plain, "1"]
    for made in (tables.paragraph(name), tables.heading(name, 2)):
        assert shown(made) == ([plain] if plain or made[0] == "#" else [])


def test_urls_are_not_links_either():
    """Tests bare URLs, which some renderers such as GitHub's make links of."""
    for name in ("http://a.b", "HTTPS://a.b", "www.a.b", "a@b.c"):
        assert re.search(r"\\[:.@]", tables.in_markdown(name))


def test_figures_stay_readable():
    for cell in (
        "80.00 ± 14.14 [49.0, 94.3]",
        "+1.25",
        "-0.50",
        "– difference",
        "pro_mpt N=2",
        "R@1",
    ):
        assert tables.in_markdown(cell) == cell


@pytest.mark.parametrize(
    "name", ["[/x]", "[red]a[/red]", ":cat:", "[link=file:///x]a", "a\x1b[2Jb"]
)
def test_brackets_are_not_markup_on_a_terminal(capsys, name):
    tables.show(tables.table(name, ["method", name], [[name, "1.00"]]))
    assert capsys.readouterr().out.count(escape(name)) == 3


def test_a_run_with_any_names_is_printed_and_tabulated(tmp_path, capsys):
    odd = "[/x] $a$ and $\\frac$ | <b> _a_"
    put(tmp_path, dataset=odd, variant=odd, backbone=f"/data/{odd}")
    put(tmp_path, dataset=odd, variant=odd, backbone=f"/data/{odd}", config={"a": odd}, seed=2)
    assert explain(results.start, [str(tmp_path)]) == 0
    assert "left out" not in (printed := capsys.readouterr().out)
    assert "$\\frac$" in printed
    text = (tmp_path / "tables/base_to_novel.md").read_text()
    shown(text.split("\n\n", 2)[2])


def test_a_failed_plot_is_reported_and_affects_nothing_else(tmp_path, capsys, monkeypatch):
    put(tmp_path)

    def fail(*_):
        raise RuntimeError("no room")

    monkeypatch.setattr(drawing, "draw", fail)
    assert explain(results.start, [str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "note: a plot was skipped (RuntimeError: no room)" in out and "wrote 2 files to" in out
    assert "80.00" in (tmp_path / "tables/base_to_novel.md").read_text()


def test_names_of_files_are_short_and_distinct():
    one, other = (drawing.file_name("a" * 300, "é" * 300, ending) for ending in ("x", "y"))
    assert one != other and len(one.encode()) < 200
    assert drawing.file_name("few_shot", "", "ViT-B/16") == "few_shot-ViT-B-16"
