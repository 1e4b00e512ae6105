"""Tables in LaTeX: what is bold, what the caption says, and that no text becomes a command."""

import pathlib
import re

import pytest
from result_trees import ELEVEN, put

from experiments import results
from experiments.figures.papers import latex
from experiments.figures.result_table import Cell
from experiments.record import runs


def cell(mean, deviation=None, interval=None):
    return Cell(mean, deviation, 1, 1, interval)


def test_the_best_figure_and_those_within_its_interval_are_bold():
    best = cell(80.0, 9.0, (78.0, 82.0))  # its interval counts before its deviation
    assert latex.is_best([cell(77.9), best, None, cell(78.0)]) == [False, True, False, True]
    assert latex.is_best([cell(79.0), cell(80.0, 1.5)]) == [True, True]
    assert latex.is_best([cell(79.9), cell(80.0)]) == [False, True]
    assert latex.is_best([cell(79.9), None]) == [False, False]  # nothing to compare with
    assert latex.is_best([cell(12.0), cell(3.0, 1.0)], smallest=True) == [False, True]


def test_figures_have_deviation_and_interval():
    one = cell(80.126, 1.5, (78.0, 82.0))
    assert latex.figure(one) == r"$80.13 \pm 1.50$"
    assert latex.figure(one, bold=True, intervals=True) == r"$\mathbf{80.13} \pm 1.50$ [78.0, 82.0]"
    assert latex.figure(None) == "--"


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        (r"\input{/etc/passwd}", r"\textbackslash{}input\{/etc/passwd\}"),
        ("a_b & 5 % of #1 ~^$", r"a\_b \& 5 \% of \#1 \textasciitilde{}\textasciicircum{}\$"),
        ("two\nlines", r"two\textbackslash{}nlines"),
        ("pro_mpt -G^V", r"pro\_mpt -G\textasciicircum{}V"),
    ],
)
def test_texts_are_printed_as_they_are(text, printed):
    assert latex.escape(text) == printed


def test_results_writes_tables_for_papers(tmp_path, capsys):
    for seed, base in ((1, 80.0), (2, 84.0)):
        accuracy = {"base": base, "new": 60.0}
        put(tmp_path, seed=seed, accuracy=accuracy)
        put(tmp_path, seed=seed, accuracy=accuracy, dataset="a_set_of_mine")
    put(tmp_path, method="maple", accuracy={"base": 70.0, "new": 60.0})
    results.start([str(tmp_path), "--latex"])
    text = (tmp_path / "tables/base_to_novel.tex").read_text()
    assert "\\usepackage{booktabs,graphicx}" in text and text.count(r"\begin{table}") == 1
    for rule in ("toprule", "bottomrule"):
        assert text.count(f"\\{rule}") == 1
    assert text.count(r"\midrule") == 3  # the average and two data sets
    caption = re.search(r"\\caption\{(.*)\}", text)[1]
    assert "tested on its base and its new classes" in caption
    assert r"sample standard deviation over the seeds 1, 2; some figures over fewer." in caption
    assert r"coop & $\mathbf{82.00} \pm 2.83$ & $60.00 \pm 0.00$ &" in text
    assert r"\emph{a\_set\_of\_mine}" in text and "a_set" not in text
    lines = [line for line in text.split("\n") if line.endswith(r"\\")]
    rows = [line for line in lines if not line.startswith(r"\multicolumn")]
    assert {line.count(" & ") for line in rows} == {3}
    assert "base_to_novel.tex" in {path.name for path in (tmp_path / "tables").iterdir()}


def test_published_figures_stand_below_the_measured_ones(tmp_path):
    for name in ELEVEN:
        put(tmp_path, dataset=name)
    summary = results.summarize(tmp_path, intervals=True)
    results.write_tables(summary, tmp_path / "out", with_latex=True)
    text = (tmp_path / "out/base_to_novel.tex").read_text()
    assert r"\quad published & 82.69 & 63.22 & 71.66 \\" in text
    assert "ProMPT (ICMR 2024), Table 1" in text.split("Published figures:")[1]
    assert "[" in text.split(r"\emph{caltech101}")[1].split(r"\\")[1]


def test_retrieval_and_every_protocol_have_a_sentence(tmp_path):
    kept = pathlib.Path(__file__).parents[1] / "fixtures/runs/retrieval"
    assert latex.PROTOCOLS.keys() == {*runs.PROTOCOLS}
    results.write_tables(results.summarize(kept), tmp_path, with_latex=True)
    text = (tmp_path / "retrieval.tex").read_text()
    assert "each text ranks all test videos" in text and "t2v R@1" in text
    assert "are a small stand-in" in text
    assert text.replace(r"\{", "").count("{") == text.replace(r"\}", "").count("}")


def test_latex_files_are_kept_up_to_date(tmp_path):
    put(tmp_path, dataset="dtd")
    results.report(tmp_path)
    assert not list((tmp_path / "tables").glob("*.tex"))
    results.report(tmp_path, with_latex=True)
    put(tmp_path, dataset="eurosat")
    results.report(tmp_path)
    assert r"\emph{eurosat}" in (tmp_path / "tables/base_to_novel.tex").read_text()
