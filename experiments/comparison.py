"""Every method on the embedded stand-in: base-to-novel and domain generalization, three seeds.

    python -m experiments.comparison [--out results/comparison] [--methods coop,pro_mpt] [--seeds 1]
        [--protocols base_to_novel]

Finished runs are kept: an interrupted comparison goes on.
Writes tables and plots, and comparison.md with the date and the commit.
"""

import sys

from experiments import command_line

if __name__ == "__main__":  # before the imports below, so that Ctrl-C is heard while they run
    sys.exit(command_line.run("experiments.comparison", "start", sys.argv[1:]))

import argparse
import datetime
import pathlib
import time

from experiments import results
from experiments.configs.images import comparison
from experiments.record import workdir
from experiments.run import sweep
from prompt_jax import methods
from prompt_jax.errors import PromptError, unknown


def run_all(
    folder: pathlib.Path, protocols: list[str], chosen: list[str], seeds: tuple[int, ...]
) -> None:
    """Runs, or finds finished, all of it; a folder a protocol."""
    for config in comparison.get_configs():
        if config.protocol in protocols and config.method in chosen:
            config.seeds = seeds
            print(f"{config.protocol}: {config.method}")
            sweep.run(config, folder / config.protocol)


def write_page(folder: pathlib.Path, minutes: float) -> pathlib.Path:
    """One Markdown page of all tables, with what made it."""
    day = datetime.datetime.now(datetime.UTC).date().isoformat()
    lines = [
        f"{day}, commit {workdir.git_commit()}, {minutes:.0f} minutes for what was not there yet.",
        "",
    ]
    for path in sorted((folder / "tables").glob("*.md")):
        lines.append(path.read_text(encoding="utf-8"))
    page = folder / "comparison.md"
    page.write_text("\n".join(lines), encoding="utf-8")
    return page


def start(argv: list[str]) -> None:
    """Parses, runs, writes."""
    parser = argparse.ArgumentParser("python -m experiments.comparison", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("results/comparison"))
    parser.add_argument("--methods", default=",".join(methods.METHODS), help="all by default")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--protocols", default=",".join(comparison.PROTOCOLS), help="both")
    options = parser.parse_args(argv)
    protocols, chosen = options.protocols.split(","), options.methods.split(",")
    for what, names, known in (
        ("protocol", protocols, comparison.PROTOCOLS),
        ("method", chosen, methods.METHODS),
    ):
        for name in names:
            if name not in known:
                raise unknown(what, name, known)
    try:
        seeds = tuple(int(seed) for seed in options.seeds.split(","))
    except ValueError:
        raise PromptError(f"--seeds={options.seeds}: must be numbers such as 1,2,3") from None
    command_line.prepare_jax()
    began = time.perf_counter()
    run_all(options.out, protocols, chosen, seeds)
    results.report(options.out)
    page = write_page(options.out, (time.perf_counter() - began) / 60)
    print(f"all tables with date and commit: {page}")
