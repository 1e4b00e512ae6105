"""Plans a run for an accelerator that is not there.

    python -m experiments.plan --config=experiments/configs/images/pro_mpt.py --target=v5e:4x4 \\
        --config.backbone=ViT-B/16 --config.dtype=bfloat16

Compiles the run's training and evaluation programs with the target's own compiler and prints
whether they fit, what they cost and how long a step takes at best. Reads no data, and no weights
but those of a second backbone.
"""

import sys

from experiments.cli import command_line

if __name__ == "__main__":  # before the slow imports below, so that Ctrl-C works during them
    sys.exit(command_line.run("experiments.plan.__main__", "main", sys.argv[1:]))

import argparse
import dataclasses
from collections.abc import Sequence

from data_pipelines import datasets
from experiments import main as run_command
from experiments.config.config import Config
from experiments.plan import largest, programs, report, targets, worker
from experiments.plan.compiling import Compiled, Question
from experiments.run import sweep
from experiments.setup import building
from prompt_jax.cli.commands import whole
from prompt_jax.errors import PromptError

SECONDS = 900.0


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, Config]:
    """Returns the options and the config of a command line."""
    parser = command_line.make_parser("experiments.plan", __doc__)
    parser.allow_abbrev = False  # all other flags are the config's
    parser.add_argument("--target", required=True, help=f"e.g. {', '.join(targets.EXAMPLES)}")
    parser.add_argument("--mesh", default="", help="e.g. data:4,model:2 (config.mesh)")
    parser.add_argument("--classes", type=whole(), help="number of classes (the data set's)")
    parser.add_argument("--no-largest", action="store_true", help="skip the search for what fits")
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help=f"limit per program ({SECONDS:.0f})"
    )
    options, rest = parser.parse_known_args(argv)
    if not options.seconds > 0:
        raise PromptError(f"--seconds={options.seconds:g} must be above 0")
    targets.check_compiler(targets.parse(options.target))
    one = choose_run(run_command.parse(["experiments.plan", *rest]))
    return options, dataclasses.replace(one, mesh=options.mesh or one.mesh)


def choose_run(config: Config) -> Config:
    """Returns the first run of a config; prints its name if there are several."""
    runs = sweep.expand(config)
    name, one = next(iter(runs.items()))
    if len(runs) > 1:
        print(f"the first of {len(runs)} runs, {name}:")
    return one


def count_classes(config: Config) -> int:
    """Returns the number of training classes of the config's data set.

    Raises:
        PromptError: it depends on the data.
    """
    if config.protocol_spec.by_captions:
        return 0
    number = datasets.TABLE[config.data.name].num_classes
    if not number:
        raise PromptError(
            f"the number of classes of {config.data.name} depends on the data; give it: --classes=…"
        )
    return -(-number // 2) if config.protocol == "base_to_novel" else number


def main(argv: Sequence[str]) -> None:
    """Prints the plan of a run.

    Raises:
        PromptError: the command line is wrong, a compiler is missing, or nothing could be compiled.
    """
    options, config = parse(argv)
    target = targets.parse(options.target)
    classes = options.classes or count_classes(config)
    print(report.title(config, target, classes), flush=True)
    if programs.makes_up_texts(building.build_method(config)[0]):
        print("texts: made up, a few per class; those of the run are not read", flush=True)
    with worker.Compiler(target, options.seconds) as compiler:
        question = Question(config, programs.read_sizes(config), options.target, classes)
        names = compiler.ask(question)
        compiled = False
        for name in names:
            try:
                found: Compiled = compiler.ask(dataclasses.replace(question, program=name))
            except worker.Failed as failed:
                print(f"{name}: NOT COMPILED: {failed}", flush=True)
                continue
            compiled = True
            print(report.describe(name, found, target), flush=True)
        if not compiled:
            raise PromptError(f"--target={options.target}: no program could be compiled")
        if target.chip.peaks:
            print(report.ASSUMPTIONS)
        if not options.no_largest:
            search(compiler, dataclasses.replace(question, program=names[0]), target)


def search(compiler: worker.Compiler, question: Question, target: targets.Target) -> None:
    """Prints the largest batch and number of classes of a program that fit."""
    print(f"largest that fit, by the {question.program}, all else as above:", flush=True)
    sizes = {"batch": question.config.batch_size, "classes": question.classes}
    for what, start in sizes.items():
        if start:
            found = largest.search(compiler, question, target, what, start)
            print(f"  {what}: {found}", flush=True)
