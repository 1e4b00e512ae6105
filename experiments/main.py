"""Runs one experiment: flags and one call.

python -m experiments.main --config=experiments/configs/pro_mpt.py --workdir=results/pro_mpt
"""

import os
import pathlib
import re
import sys
import traceback

import jax
from absl import flags
from ml_collections import config_flags

from data_pipelines.errors import DataError
from experiments import experiment, tables
from prompt_jax.errors import PromptError, unknown
from prompt_jax.methods import METHODS

USAGE_ERROR, INTERRUPTED = 2, 130

CONFIG = config_flags.DEFINE_config_file("config", None, "experiment, e.g. a file of configs/")
WORKDIR = flags.DEFINE_string("workdir", None, "folder where everything is written")


def parse(argv: list[str]) -> None:
    """Reads the command line into the flags.

    Raises:
        PromptError: a flag, config file, config key or value that does not exist or fit.
    """
    file = next((a.split("=", 1)[1] for a in argv if re.match("--?config=", a)), None)
    if "--config" in argv[:-1]:
        file = argv[argv.index("--config") + 1]
    try:
        rest = flags.FLAGS(argv)
        if CONFIG.value is not None:
            CONFIG.value.keys()  # a file that is not there shows only when it is looked into
    except flags.UnrecognizedFlagError as error:
        name = str(error.flagname)
        if name.startswith("config.") and file is None:
            raise PromptError(f"--{name} needs a config first: --config=FILE") from None
        raise unknown("flag", name, ("config", "workdir")) from None
    except flags.Error as error:
        first, *more = str(error).splitlines()
        raise PromptError(" ".join([first, *more[-1:]])) from None
    except Exception as error:  # whatever a config file, which is Python, raises
        raise _config_error(argv, file or "", error) from error
    if rest[1:]:
        raise PromptError(f"unexpected argument {rest[1]!r}: options start with --")
    if CONFIG.value is None:
        raise PromptError("--config=FILE is needed, e.g. --config=experiments/configs/pro_mpt.py")


def _config_error(argv, file, error):
    """What is wrong with the config: no such file, a file that fails, or a key it has not."""
    if not pathlib.Path(file.split(":")[0]).is_file():
        files = (f"experiments/configs/{method}.py" for method in METHODS)
        return unknown("config file", file, files)
    try:
        known = list(_keys(flags.FLAGS["config"].parser.parse(file)))
    except Exception:
        known = []
    given = [match[1] for a in argv if (match := re.match(r"--?(?:no)?config\.([^=]+)", a))]
    wrong = next((key for key in given if key not in known), None)
    if known and wrong:
        return unknown("config key", wrong, known)
    line = traceback.extract_tb(error.__traceback__)[-1]
    reason = (str(error) or "no message").splitlines()[0]
    return PromptError(
        f"the config file {file} cannot be used: {type(error).__name__}: {reason} "
        f"({line.filename}, line {line.lineno})"
    )


def _keys(config, prefix=""):
    for key, value in config.items():
        yield prefix + key
        if hasattr(value, "items"):
            yield from _keys(value, prefix + key + ".")


def use_compilation_cache() -> None:
    """Keeps compiled programs between processes, unless JAX was told where already."""
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
        jax.config.update("jax_compilation_cache_dir", str(cache / "prompt_jax" / "xla"))


def explain(function, *args) -> int:
    """Calls `function`; a person's mistake becomes one line and exit code 2, not a traceback."""
    try:
        function(*args)
    except (PromptError, DataError) as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt as stop:
        print(str(stop) or "stopped", file=sys.stderr)
        return INTERRUPTED
    return 0


def print_help() -> None:
    """What to type, and which configs there are."""
    print(__doc__)
    print("--workdir=DIR  where everything is written; default results/METHOD-DATA-seedN")
    print("--config.FIELD=VALUE  any field of experiments/configs/default.py, which explains them")
    print("configs:", *(f"experiments/configs/{method}.py" for method in METHODS))


def main(argv: list[str]) -> None:
    """Parses, runs, prints."""
    if {"-h", "--help", "--helpfull"} & set(argv):
        print_help()
        return
    parse(argv)
    use_compilation_cache()
    config = CONFIG.value
    name = f"{config.method}-{config.data.name}-seed{config.seed}"
    workdir = pathlib.Path(WORKDIR.value or f"results/{name}")
    results = experiment.run(config, workdir)
    tables.print_run(results)
    print(f"everything of this run is in {workdir}, its figures in {workdir / 'results.json'}")


if __name__ == "__main__":
    sys.exit(explain(main, sys.argv))
