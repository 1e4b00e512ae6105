"""One self-contained HTML page about finished runs, which needs no network.

    python -m experiments.report RUN [RUN …] [--out FILE.html]

RUN is a directory of a finished run; several runs are shown side by side. If the data of a run is
gone, the page has no images of it. Writes report.html into the first run directory by default. An
earlier report is replaced, any other file is not.
"""

import sys

from experiments.cli import command_line

if __name__ == "__main__":  # before the imports below, so that Ctrl-C works while they run
    sys.exit(command_line.run("experiments.report.__main__", "start", sys.argv[1:]))

import pathlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from data_pipelines.errors import DataError
from experiments.report import curves, data, overview, page
from experiments.report.blocks import Section, Text
from experiments.report.finished import Finished, open_all, read_all
from experiments.report.sections import attention, features, iterations, mistakes, retrieval, words
from experiments.setup.preparation import Prepared
from prompt_jax.errors import PromptError, escape
from prompt_jax.methods import Prompts
from prompt_jax.models import saved

# The sections of a page, in this order: of all runs together, of each run by its files, and of each
# run whose data and backbone are still there. A section without content is None.
OF_ALL: tuple[Callable[[Sequence[Finished]], Section | None], ...] = (
    overview.section,
    data.section,
    curves.section,
)
OF_EACH: tuple[Callable[[Finished], Section | None], ...] = (
    mistakes.section,
    iterations.section,
    retrieval.section,
)
OF_EACH_OPENED: tuple[Callable[[Prepared, Prompts, str], Section | None], ...] = (
    attention.section,
    words.section,
    features.section,
)


def sections(runs: Sequence[Finished]) -> Iterator[Section]:
    """Yields all sections; headings name the run if there are several. Damaged files come last."""
    for together in OF_ALL:
        if found := _attempt(together, runs):
            yield found
    for run in runs:
        for found in filter(None, [*(_attempt(make, run) for make in OF_EACH), *of_trained(run)]):
            title = f"{found.title}: {run.label}" if len(runs) > 1 else found.title
            yield found._replace(title=title)
    if damaged := [line for run in runs for line in run.left_out]:
        yield Section("Damaged files", [Text(line) for line in damaged])


def _attempt(make: Callable[..., Section | None], *args: Any) -> Section | None:
    """Makes a section; an error leaves out this section only."""
    try:
        return make(*args)
    except (DataError, PromptError) as error:  # e.g. an image that is gone by now
        return Section("Not shown", [Text(f"{error}")])
    except Exception as error:  # matplotlib raises errors of any class
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        name = make.__module__.rpartition(".")[2]
        print(f"note: section {name} is left out ({escape(reason)})", file=sys.stderr)
        return Section("Not shown", [Text(f"Section {name} could not be created ({reason}).")])


def of_trained(run: Finished) -> Iterator[Section | None]:
    """Yields what the prompts do on the last test set, for base-to-novel the new classes."""
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
    """Returns the runs and their data as the title of the page."""
    labels: dict[str, list[str]] = {}
    for run in runs:
        labels.setdefault(run.data, []).append(run.label)
    return "; ".join(f"{', '.join(those)} on {name}" for name, those in labels.items())


def start(argv: list[str]) -> None:
    """Parses the arguments, reads the runs, writes the page.

    Raises:
        PromptError: a directory holds no finished run, or the file cannot be written.
    """
    parser = command_line.make_parser("experiments.report", __doc__)
    parser.add_argument("runs", metavar="RUN", type=pathlib.Path, nargs="+", help="a run directory")
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
    again = "replaced " * there
    size, seconds = path.stat().st_size / 1e6, time.perf_counter() - began
    print(f"{again}{path}: {size:.1f} MB, {seconds:.0f} s")
