"""One page of HTML about finished runs, that holds all it shows and opens without a network.

    python -m experiments.report RUN [RUN …] [--out FILE.html]

RUN is the folder of a finished run; of several, figures stand side by side. Where a run's data is
gone, the page has no images of it. Writes report.html into the first run's folder if no other
file is named; an earlier page there is replaced, anything else is not.
"""

import sys

from experiments.cli import command_line

if __name__ == "__main__":  # before the imports below, so that Ctrl-C is heard while they run
    sys.exit(command_line.run("experiments.report.__main__", "start", sys.argv[1:], "stopped"))

import argparse
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from data_pipelines.errors import DataError
from experiments.report import curves, data, overview, page
from experiments.report.blocks import Section, Text
from experiments.report.finished import Finished, open_all, read_all
from experiments.report.sections import attention, features, iterations, mistakes, searches, words
from experiments.setup.preparation import Prepared
from prompt_jax.errors import PromptError, escape
from prompt_jax.methods import Prompts
from prompt_jax.models import saved

# What a page is made of, in this order: of all runs together, of each run by what it left, and of
# each run that could be opened again. None where there is nothing to show.
OF_ALL: tuple[Callable[[Sequence[Finished]], Section | None], ...] = (
    overview.section,
    data.section,
    curves.section,
)
OF_EACH: tuple[Callable[[Finished], Section | None], ...] = (
    mistakes.section,
    iterations.section,
    searches.section,
)
OF_EACH_OPENED: tuple[Callable[[Prepared, Prompts, str], Section | None], ...] = (
    attention.section,
    words.section,
    features.section,
)


def sections(runs: Sequence[Finished]) -> Iterator[Section]:
    """All sections of a page; of several runs, headings say whose. What is damaged comes last."""
    for together in OF_ALL:
        if found := _attempt(together, runs):
            yield found
    for run in runs:
        alone = [_attempt(make, run) for make in OF_EACH]
        alone += of_trained(run)
        for found in filter(None, alone):
            title = f"{found.title}: {run.label}" if len(runs) > 1 else found.title
            yield found._replace(title=title)
    if damaged := [line for run in runs for line in run.left_out]:
        yield Section("Left out", [Text(line) for line in damaged])


def _attempt(make: Callable[..., Section | None], *args: Any) -> Section | None:
    """Makes a section, if it can be made: what fails costs no other."""
    try:
        return make(*args)
    except (DataError, PromptError) as error:  # an image that was there when it was tested
        return Section("Not shown", [Text(f"{error}")])
    except Exception as error:  # of drawing, whose errors are of every class
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        name = make.__module__.rpartition(".")[2]
        print(f"note: the section of {name} is left out ({escape(reason)})", file=sys.stderr)
        return Section("Not shown", [Text(f"The section of {name} cannot be made ({reason}).")])


def of_trained(run: Finished) -> Iterator[Section | None]:
    """What its prompts do, on its last test set: base-to-novel's new classes."""
    if run.prepared is None:
        return
    try:
        prompts = run.prepared.placement.replicate(saved.read(run.folder).prompts)
    except PromptError as error:
        run.left_out.append(f"{error}")
        return
    key = list(run.prepared.plan.tests)[-1]
    for make in OF_EACH_OPENED:
        yield _attempt(make, run.prepared, prompts, key)


def title(runs: Sequence[Finished]) -> str:
    """Which runs, on which data."""
    labels: dict[str, list[str]] = {}
    for run in runs:
        labels.setdefault(run.data, []).append(run.label)
    return "; ".join(f"{', '.join(those)} on {name}" for name, those in labels.items())


def start(argv: list[str]) -> None:
    """Parses, reads, writes.

    Raises:
        PromptError: a folder holds no finished run, or the file cannot be written.
    """
    parser = argparse.ArgumentParser("python -m experiments.report", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("runs", metavar="RUN", type=pathlib.Path, nargs="+", help="a run's folder")
    parser.add_argument("--out", type=pathlib.Path, help="file (report.html in the first RUN)")
    options = parser.parse_args(argv)
    began = time.perf_counter()
    found = read_all(options.runs)
    path = options.out or options.runs[0] / "report.html"
    there = page.check(path)
    command_line.prepare_jax()
    runs = open_all(found)
    page.write(path, title(runs), list(sections(runs)))
    for line in (line for run in runs for line in run.left_out):
        print(f"note: {escape(line)}", file=sys.stderr)
    again = "written again: " * there
    size, seconds = path.stat().st_size / 1e6, time.perf_counter() - began
    print(f"{again}{path}: {size:.1f} MB, {seconds:.0f} s")
