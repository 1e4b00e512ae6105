"""Files that runs write: results, run directories, checkpoints; and command lines."""

import contextlib
import hashlib
import io
import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest

from data_pipelines.examples import Dataset, Example
from experiments import results
from experiments.cli import command_line
from experiments.config.config import read
from experiments.configs import default
from experiments.figures import tables
from experiments.record import workdir
from experiments.record.log import lines_until
from experiments.run import experiment
from experiments.setup import building, loading
from experiments.setup.batches import make_batches
from experiments.setup.plans import Plan
from prompt_jax.errors import PromptError
from prompt_jax.training.checkpoint import Checkpoints
from prompt_jax.training.loop import Trained
from tests.helpers import tiny
from tests.helpers.files import result_trees

from ..files import Files, collect
from ..kind import Kind, Wrong, changing
from ..mutations import BYTES, JSON, TEXT
from .lists import CLASSES, IMAGES


def _make_results() -> list[Files]:
    with tempfile.TemporaryDirectory() as folder:
        for changes in (
            {"seed": 1},
            {"seed": 2, "features": "cached: 2 augmented views"},
            {"method": "zero_shot"},
            {"protocol": "few_shot", "accuracy": {"test": 70.0}, "zero_shot": {"test": 60.0}},
            {
                **{"protocol": "cross_dataset", "accuracy": {"imagenet": 70.0, "dtd": 50.0}},
                **{"zero_shot": {"imagenet": 60.0, "dtd": 40.0}, "per_iteration": {}},
                **{"data_hashes": {"train": "ab", "tests": {"imagenet": "cd", "dtd": "ef"}}},
            },
        ):
            result_trees.put(Path(folder), **changes)
        return [collect(Path(folder))]


def _summarize(folder: Path) -> None:
    for table in results.summarize(folder)[0]:
        results.show(table)


def _write_tables(folder: Path) -> None:
    results.report(folder)


def _run_config() -> Any:
    config = tiny.small_config("zero_shot", Path("embedded"), Path("data"))
    config.data.name = "folder"
    config.data.shots = 1
    return config


def _make_workdir() -> list[Files]:
    """Writes a finished run with relative paths, so that it stays finished when it is copied."""
    files: Files = {}
    for part in ("train", "test"):
        for number, name in enumerate(CLASSES):
            files[f"data/{part}/{name}/1.jpg"] = IMAGES[2 * number + (part == "test")]
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for name, content in files.items():
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_bytes(content)
        experiment.run(_run_config(), "run")
        lines = [json.dumps({"step": step, "loss": 1.5}) + "\n" for step in range(1, 9)]
        Path("run/metrics.jsonl").write_text("".join(lines))
        made = collect(Path("."))
    identity = json.loads(made["run/run.json"])
    del identity["digest"]  # fields that identify a run have no digest
    return [made | {"identity.json": json.dumps(identity).encode()}]


def _read_finished(folder: Path) -> None:
    """Reads what starting a finished run again reads."""
    with contextlib.chdir(folder):
        found = loading.finished(loading.load(_run_config(), Path("run")))
        if found is None:
            raise Wrong("the results were passed over")
        tables.print_run(found)


def _read_unfinished(folder: Path) -> None:
    """Reads what resuming a stopped run reads."""
    run = folder / "run"
    (run / "results.json").unlink()
    lines_until(run / "metrics.jsonl", 5)
    workdir.claim_workdir(run, json.loads((folder / "identity.json").read_text()))
    try:
        evaluations = workdir.read_evaluations(run)
        _collect(json.loads((folder / "identity.json").read_text()), evaluations)
    finally:
        workdir.release(run)


def _collect(identity: dict[str, Any], evaluations: dict[str, Any]) -> None:
    """Reads evaluations like `experiment.finish`, with no tests left."""
    hashes = identity["pictures"]["tests"]
    if not all(evaluations.get(key, {}).get("hash") == hashes[key] for key in hashes):
        return
    train = Dataset("folder", "{}", (Example("1.jpg", 0, "a"),), (), (), PIL.Image.open)
    plan = Plan(train, {}, {}, make_batches(read(_run_config()), 32, "images"))
    backbone: Any = SimpleNamespace(fingerprint="0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workdir, "git_commit", str)  # runs git
        trained = Trained({})
        found = experiment.collect(read(_run_config()), backbone, plan, evaluations, trained)
    try:
        workdir.check_results(found | {"data_hashes": {"train": ""}})
    except (ValueError, TypeError, KeyError) as error:
        raise Wrong(f"results that cannot be read again: {error!r}") from error


def _state() -> dict[str, Any]:
    numbers = np.random.default_rng(0).normal(size=(4, 32)).astype(np.float32)
    moments = {"context": jnp.asarray(numbers[::-1]), "count": jnp.asarray(3)}
    return {"prompts": {"context": jnp.asarray(numbers)}, "optimizer": moments}


def _make_checkpoint() -> list[Files]:
    with tempfile.TemporaryDirectory() as folder:
        saved: dict[str, Any] = {}
        with contextlib.closing(Checkpoints(Path(folder) / "checkpoints", keep=2)) as checkpoints:
            for step in (2, 4):
                state = jax.tree.map(lambda leaf, step=step: leaf + step, _state())
                record = {"identity": {"seed": 1}, "position": {"next_index": step}}
                record |= {"seconds": 1.5, "pictures": 8 * step, "waiting": 0.25, "together": 1}
                checkpoints.save(step, state, record)
                saved[str(step)] = {"digest": _digest(state), "record": record}
        made = collect(Path(folder))
    return [made | {"saved.json": json.dumps(saved).encode()}]


def _digest(state: Any) -> str:
    leaves = jax.tree.leaves(state)
    return hashlib.sha256(b"".join(np.asarray(leaf).tobytes() for leaf in leaves)).hexdigest()


def _change_checkpoint(random: Random, files: Files, others: Sequence[Files]) -> Files:
    """Damages, removes or empties a file of a checkpoint, or replaces it by another step's."""
    names = [name for name in files if name.startswith("checkpoints/") and files[name]]
    # By size, because most files are small.
    weights = [len(files[name]) + 200 for name in names]
    (name,) = random.choices(names, weights)
    changed = dict(files)
    match random.randrange(10):
        case 0:
            del changed[name]
        case 1:
            twin = re.sub(r"/([24])/", lambda m: "/4/" if m[1] == "2" else "/2/", name)
            changed[name] = files.get(twin, b"")
        case 2 | 3 | 4 | 5:
            content = bytearray(files[name])
            content[random.randrange(len(content))] ^= 1 << random.randrange(8)
            changed[name] = bytes(content)
        case _:
            changed[name] = random.choice(BYTES)(random, files[name], [b""])
    return changed


def _read_checkpoint(folder: Path) -> None:
    """Resumes as a run does; the restored state must be the saved one."""
    saved = json.loads((folder / "saved.json").read_text())
    with contextlib.closing(Checkpoints(folder / "checkpoints", keep=2)) as checkpoints:
        step = checkpoints.latest()
        if step is None:
            raise Wrong("no step is found: training would start again without a word")
        state, record = checkpoints.restore(step, _state())
        expected = saved.get(str(step))
        if expected is None or record != expected["record"]:
            raise Wrong(f"another record at step {step}: {record}"[:300])
        if _digest(state) != expected["digest"]:
            raise Wrong(f"other arrays at step {step}")


_FLAG_VALUES = (
    *("", " ", "0", "-1", "1", "1e9", "nan", "inf", "-inf", "1.5", "True", "None", "9" * 400),
    *("9" * 5000, "()", "(1,)", "[1,2]", "1,2", "(1,2", "a", "a,b", "{}", "é", "\x00", "\x1b[2J"),
    *("a:b", ":", "/", "../..", "/dev/null", "/etc/passwd", "x" * 5000, "\udcff", "(" * 300, "@x"),
    *("embedded", "folder:x", "csv", "'a'", '"', "1_000", "0x10", "１", "{0}", "%s", "None,None"),
    *("coop", "few_shot", "bfloat16", "adamw", "((1, 2),)", "(('a', (('epochs', 3),)),)", "1" * 19),
    *("((1, 'a'),)", "(('a', (('x', 3),)),)", "(True,)", "(None,)", "((),)", "2**99", "(1e400,)"),
)
_CONFIG_NAMES = ("coop", "pro_mpt", "gda", "zero_shot", "few_shot", "cross_dataset", "quickstart")


def _fields(config: Any, prefix: str = "") -> Iterator[str]:
    for key, value in config.items():
        if hasattr(value, "items"):
            yield from _fields(value, f"{prefix}{key}.")
        else:
            yield prefix + key


_FIELDS = list(_fields(default.get_config("pro_mpt")))


def _change_words(random: Random, files: Files, others: Sequence[Files]) -> Files:
    """Returns a command line: a config, and fields with values that may be invalid."""
    behind = random.choice(("", "", "", ":coop", ":" + random.choice(_FLAG_VALUES)))
    words = [f"--config=experiments/configs/images/{random.choice(_CONFIG_NAMES)}.py{behind}"]
    for _ in range(random.choice((1, 1, 2, 3))):
        field, value = random.choice(_FIELDS), random.choice(_FLAG_VALUES)
        field = random.choice((field,) * 8 + (field[:-1], field + ".x", "settings", "data", "x.y"))
        words.append(f"--config.{field}={value}")
    odd = random.choice(
        (*("",) * 12, "--", "-", "x", "--x", "--workdir", "--config=", "-config.seed=1", "--\x00=1")
    )
    if odd:
        words.insert(random.randrange(len(words) + 1), odd)
    return {"words.json": json.dumps(words).encode()}


def _read_words(folder: Path) -> None:
    """Parses and checks the command line without running it."""
    words = json.loads((folder / "words.json").read_text())
    with pytest.MonkeyPatch.context() as patch:

        def stop(*_: Any) -> None:
            raise KeyboardInterrupt

        patch.setattr(building, "build_backbone", stop)  # the first call after the checks
        patch.setattr("experiments.run.parallel.run", stop)
        patch.setattr(results, "report", lambda *_: None)
        with contextlib.redirect_stderr(io.StringIO()) as errors:
            code = tiny.run_main([*words, f"--workdir={folder / 'run'}"], patch)
    if code == command_line.USAGE_ERROR:
        # As stderr writes invalid Unicode.
        raise PromptError(errors.getvalue().encode("utf-8", "backslashreplace").decode())


def _make_words() -> list[Files]:
    return [{"words.json": b'["--config=experiments/configs/images/coop.py"]'}]


KINDS = [
    Kind("results", 14, _make_results, changing("results.json", JSON), _summarize),
    Kind("tables", 0.1, _make_results, changing("results.json", JSON), _write_tables),
    Kind("finished", 2, _make_workdir, changing("run/results.json", JSON), _read_finished),
    Kind(
        "unfinished",
        6,
        _make_workdir,
        changing(("run/run.json", "evaluations.json", "metrics.jsonl"), (*JSON[:6], *TEXT)),
        _read_unfinished,
    ),
    Kind("checkpoint", 1, _make_checkpoint, _change_checkpoint, _read_checkpoint),
    Kind("flags", 6, _make_words, _change_words, _read_words),
]
