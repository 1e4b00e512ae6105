"""Runs one experiment, or several if the config is a sweep.

python -m experiments.main --config=experiments/configs/images/pro_mpt.py --workdir=results/pro_mpt
"""

import sys

from experiments.cli import command_line

if __name__ == "__main__":  # before the slow imports below, so that Ctrl-C works during them
    sys.exit(command_line.run("experiments.main", "main", sys.argv, command_line.RESUMES))

import pathlib
import re
import traceback
from typing import TYPE_CHECKING

from absl import flags
from ml_collections import ConfigDict, config_flags

from prompt_jax.cli import connecting, hosts
from prompt_jax.errors import PromptError, unknown

if TYPE_CHECKING:
    from experiments.config.config import Config

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "experiment, e.g. a file of configs/images/"
)
_PROMPT_ERROR = f"{PromptError.__module__}.{PromptError.__name__}: "
_WRONG_TYPE = re.compile(
    r"Could not override field '(.+?)'.*?\. (.*) is of original type <class '(.+?)'> "
    r"and cannot be casted to type <class '(.+?)'>"
)
_READERS = {
    "literal for int()": "a whole number",
    "string to float": "a number",
    "boolean": "True or False",
    "as a ConfigDict": "omitted: it is a group of fields, which have their own flags (see --help)",
}
WORKDIR = flags.DEFINE_string("workdir", None, "output directory")
DISTRIBUTED = flags.DEFINE_bool("distributed", False, "several hosts, started by a scheduler")
COORDINATOR = flags.DEFINE_string("coordinator", "", "HOST:PORT of host 0")
NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "number of hosts")
PROCESS_ID = flags.DEFINE_integer("process_id", None, "number of this host, from 0")
CONNECT_SECONDS = flags.DEFINE_integer(
    "connect_seconds", 300, "how long to wait for the other hosts", lower_bound=1
)
_FLAGS = (
    *("config", "workdir"),
    *("distributed", "coordinator", "num_processes", "process_id", "connect_seconds"),
)
_CONFIGS = pathlib.Path(__file__).parent / "configs"


def parse(argv: list[str]) -> "Config":
    """Returns the config of a command line, checked field by field.

    Raises:
        PromptError: a flag, config file, config key or value is unknown or invalid.
    """
    file = next((a.split("=", 1)[1] for a in argv if re.match("--?config=", a)), None)
    if "--config" in argv[:-1]:
        file = argv[argv.index("--config") + 1]
    try:
        rest = flags.FLAGS(argv)
        if CONFIG.value is not None:
            CONFIG.value.keys()  # a missing file shows only on access
    except flags.UnrecognizedFlagError as error:
        name = str(error.flagname)
        if name.startswith("config.") and file is None:
            raise PromptError(f"--{name} needs a config; add --config=FILE") from None
        raise unknown("flag", name, _FLAGS) from None
    except flags.Error as error:
        if file and "whilst parsing config file" in str(error):
            raise _unusable(file, str(error)) from None
        raise PromptError(_wrong_value(str(error))) from None
    except Exception as error:  # a config file is Python and may raise anything
        raise _config_error(argv, file or "", error) from error
    if rest[1:]:
        raise PromptError(f"unexpected argument {rest[1]!r}: options start with --")
    if file is None:
        raise PromptError(
            "--config=FILE is needed, e.g. --config=experiments/configs/images/pro_mpt.py"
        )
    if not isinstance(CONFIG.value, ConfigDict):
        kind = type(CONFIG.value).__name__
        raise PromptError(f"{file}: get_config returns a {kind}; it must be a ConfigDict")
    _refuse_swallowed(CONFIG.value, WORKDIR.value)
    _import_method(CONFIG.value)
    # Imported here, because it is slow and the checks above do not need it.
    from experiments.config import config

    return config.read(CONFIG.value)


def _wrong_value(message):
    """Returns a message with the allowed values of a flag, from the parser's error message."""
    flag, _, reason = message.partition(": ")
    for phrase, wanted in _READERS.items():
        if phrase in reason:
            return f"{flag.removeprefix('flag --')}: it must be {wanted}"
    first, *more = message.splitlines()
    return " ".join([first, *more[-1:]])


def _import_method(config):
    """Imports the method if it belongs to another package, "module:ATTRIBUTE"."""
    from prompt_jax.methods import outside

    if isinstance(method := config.get("method"), str) and outside.is_outside(method):
        outside.load(method)


def _refuse_swallowed(config, workdir):
    """Raises a PromptError if a flag without a value took the next flag as its value."""
    values = {"workdir": workdir} | {f"config.{key}": value for key, value in _fields(config)}
    for flag, value in values.items():
        if isinstance(value, str) and value.startswith("--"):
            raise PromptError(
                f"--{flag} is followed by {value} instead of a value; write --{flag}=VALUE"
            )


def _fields(config, prefix=""):
    """Yields names and values of all fields and groups of fields."""
    for key, value in config.items():
        yield prefix + key, value
        if hasattr(value, "items"):
            yield from _fields(value, f"{prefix}{key}.")


def _unusable(file, message):
    """Returns the error of a config file that cannot be loaded with its argument."""
    name, _, argument = file.partition(":")
    if argument and (match := re.search(r"PromptError: (.*)", message)):
        return PromptError(match[1])
    if argument and "takes 0 positional arguments" in message:
        return PromptError(f"{name} takes no argument; remove :{argument}")
    if "required positional argument" in message:
        return PromptError(f"{name} is a helper of other configs and cannot run by itself")
    places = re.findall(r'File "(.+?)", line (\d+)', message)
    return _mistake(name, places, message.splitlines()[-1])


def _config_error(argv, file, error):
    """Returns the error of a config: a missing file, a file that fails, or an unknown key."""
    name = file.partition(":")[0]
    if not pathlib.Path(name).is_file():
        return _no_file(file)
    try:
        known = [name for name, _ in _fields(flags.FLAGS["config"].parser.parse(file))]
    except Exception:
        known = []
    given = [match[1] for a in argv if (match := re.match(r"--?(?:no)?config\.([^=]+)", a))]
    wrong = next((key for key in given if key not in known), None)
    if known and wrong:
        return unknown("config key", wrong, known)
    places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError):
        places.append((str(error.filename), error.lineno))
    return _mistake(name, places, f"{type(error).__name__}: {error}")


def _no_file(file):
    """Returns an error that suggests config files, e.g. the new path of a moved one."""
    name, colon, argument = file.partition(":")
    same = [path for path in _CONFIGS.glob("*/*.py") if path.name == pathlib.Path(name).name]
    if same:
        places = (f"experiments/configs/{path.parent.name}/{path.name}" for path in sorted(same))
        named = " or ".join(f"--config={place}{colon}{argument}" for place in places)
        return PromptError(f"there is no config file {name!r}; use {named}")
    if place := _place_of_method(method := pathlib.Path(name).stem):
        return PromptError(f"{method} is a method: --config=experiments/configs/{place}:{method}")
    return unknown("config file", file, _config_files())


def _place_of_method(name):
    """Returns the config file that takes the method as its argument; "" if there is no method."""
    from prompt_jax.methods import METHODS, RECORDS

    if name in METHODS:
        return "images/method.py"
    record = RECORDS["videos"].get(name)
    if record is None:
        return ""
    return f"video/{'retrieval' if record.recipe('retrieval') else 'few_shot'}.py"


def _config_files():
    """Returns the paths of the configs that can run."""
    shared = ("__init__", "quickstart", "protocol", "comparison", "actions_comparison")
    paths = (path for path in sorted(_CONFIGS.glob("*/*.py")) if path.stem not in shared)
    return [f"experiments/configs/{path.parent.name}/{path.name}" for path in paths]


def _mistake(file, places, message):
    """Returns a one-line error with file, line and message of an error in a config file."""
    if "no attribute 'get_config'" in message:
        return PromptError(
            f"{file} defines no get_config, so it is not a config; --help lists the configs"
        )
    shared = _CONFIGS / "default.py"
    own = [
        f"{path}, line {line}"
        for path, line in places
        if pathlib.Path(path).resolve() == pathlib.Path(file).resolve()
        or (shared.parent in pathlib.Path(path).parents and pathlib.Path(path) != shared)
    ]
    where = own[-1] if own else file
    # The text of a KeyError is quoted, with escaped line breaks.
    message = message.replace("\\n", "\n").replace("\\'", "'")
    key = re.search(r'Key "(.+?)" does not exist|instead of "(.+?)"', message)
    if key:
        close = re.search(r'Did you mean "(.+?)"', message)
        hint = f" Did you mean {close[1]!r}?" if close else ""
        return PromptError(
            f"{where}: unknown config key {(key[1] or key[2])!r}.{hint}"
            " experiments/config/config.py and data.py declare all keys"
        )
    if match := _WRONG_TYPE.search(message):
        field, value, got, wanted = match.groups()
        return PromptError(f"{where}: {field} is {value}, of type {got}; it must be of {wanted}")
    return PromptError(f"{where}: {message.removeprefix(_PROMPT_ERROR).splitlines()[0]}")


def print_help() -> None:
    """Prints usage and the list of configs."""
    print(__doc__)
    print("--config=FILE --help   explains every field, with its value in this config")
    print("--workdir=DIR  output directory; default results/METHOD-DATA-seedN, or")
    print("               results/PROTOCOL for a config with several runs")
    print("--distributed  one of several hosts, started by Slurm, Open MPI, GKE or on a TPU pod;")
    print("               elsewhere --coordinator=HOST:PORT --num_processes=N --process_id=I;")
    print("               --connect_seconds=300 is how long they wait for each other")
    print("--config.FIELD=VALUE  sets a field")
    print("\n".join(_config_files()))
    print("the config of a protocol takes a method as argument, e.g.")
    print("experiments/configs/images/few_shot.py:coop")


def connect() -> None:
    """Connects the hosts of the run if a flag says that there are several.

    Raises:
        PromptError: the flags are incomplete, or the hosts do not connect.
    """
    flag_values = COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value
    if DISTRIBUTED.value or flag_values != ("", None, None):
        connecting.connect(*flag_values, CONNECT_SECONDS.value)


def main(argv: list[str]) -> None:
    """Parses the arguments, runs the experiment and prints its results."""
    if asked := {"-h", "--help", "--helpfull"} & set(argv):
        argv = [word for word in argv if word not in asked]
        if argv[1:]:
            config = parse(argv)
            from experiments.run import fields

            print(fields.explain(config))
        else:
            print_help()
        return
    config = parse(argv)
    connect()
    from experiments import results
    from experiments.figures import tables
    from experiments.record import agreement
    from experiments.run import experiment, sweep

    command_line.prepare_jax()
    agreement.check_config(config)
    if sweep.is_sweep(config):
        name = f"ablation_{config.ablation}" if config.ablation else config.protocol
        workdir = pathlib.Path(WORKDIR.value or f"results/{name}")
        with_tables = True
        try:
            sweep.run(config, workdir)
        except PromptError as error:
            # Tables of earlier runs would look like those of this call.
            with_tables = isinstance(error, sweep.SomeFailedError)
            raise
        finally:
            if with_tables and hosts.is_first() and any(workdir.rglob("results.json")):
                results.report(workdir)
        hosts.finish()
        return
    [one] = sweep.expand(config).values()
    name = f"{one.method}-{one.data.title or one.data.name}-seed{one.seed}".replace(":", "_")
    workdir = pathlib.Path(WORKDIR.value or f"results/{name}")
    found = experiment.run(one, workdir)
    tables.print_run(found)
    print(f"run directory: {workdir}; results: {workdir / 'results.json'}")
    hosts.finish()
