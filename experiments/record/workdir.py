"""The directory of a run: its lock and owner, its results, atomic writes."""

import contextlib
import fcntl
import json
import os
import pathlib
import subprocess
from collections.abc import Iterator
from typing import Any

from data_pipelines.errors import DataError
from experiments.record import runs
from experiments.record.files import results_file
from experiments.record.identity import refuse_other_run
from prompt_jax.cli import hosts, interrupts
from prompt_jax.errors import PromptError
from prompt_jax.storage.files import check_seal, read_json, seal, write_text

# Variables of Slurm and Open MPI: the number of processes that they started together.
_TASKS = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")
# A lock is held while its file is open, so it ends with the process at the latest.
_LOCKS: dict[pathlib.Path, int] = {}


def read_results(workdir: pathlib.Path) -> dict[str, Any] | None:
    """Reads the results of a finished run in `workdir`, on host 0; None if there are none.

    Raises:
        PromptError: a field of the file is damaged.
    """
    return hosts.from_first("results", lambda: _read_results(workdir))


def _read_results(workdir: pathlib.Path) -> dict[str, Any] | None:
    path = workdir / "results.json"
    if not os.path.lexists(path):
        return None
    advice = "delete it to finish that run again from its checkpoint"
    results, damaged = _read(path, advice)
    if damaged:
        raise PromptError(f"{path} is damaged ({damaged[0]}); {advice}")
    return results


def is_begun(workdir: pathlib.Path) -> bool:
    """Returns whether a run has begun in the directory, on host 0."""
    names = ("run.json", "results.json")
    return hosts.from_first("begun", lambda: any((workdir / name).is_file() for name in names))


def protocol_of(workdir: pathlib.Path) -> str:
    """Returns the protocol of the run that has begun in the directory, "" if none has."""
    return hosts.from_first("protocol", lambda: _protocol_of(workdir))


def _protocol_of(workdir: pathlib.Path) -> str:
    for name in ("results.json", "run.json"):
        try:
            protocol = read_json(workdir / name, results_file.MOST_BYTES)["protocol"]
        except (OSError, ValueError, TypeError, KeyError):
            continue
        return protocol if isinstance(protocol, str) else ""
    return ""


def read_finished(folder: pathlib.Path) -> tuple[dict[str, Any], list[str]]:
    """Reads the results of a finished run; returns a line for each damaged field left out.

    Raises:
        PromptError: there are none, or a field that results depend on is damaged.
    """
    path = folder / "results.json"
    if not os.path.lexists(path):
        raise PromptError(f"{folder} holds no results.json of a finished run; pass a run directory")
    return _read(path, "restore the file that the run wrote")


def _read(path: pathlib.Path, advice: str) -> tuple[dict[str, Any], list[str]]:
    try:
        results, damaged = results_file.read(path)
        runs.parse(path, results)
        check_results(results)
    except (OSError, ValueError, *runs.WRONG_CONTENT) as error:
        reason = f"no field {error}" if isinstance(error, KeyError) else str(error)
        raise PromptError(f"{path} is damaged ({reason}); {advice}") from error
    return results, results_file.left_out(path, damaged)


def check_results(results: dict[str, Any]) -> None:
    """Raises one of `runs.WRONG_CONTENT` or a ValueError if fields that are printed are missing."""
    _ = results["backbone_hash"], results["config"]["backbone"]
    if results["protocol"] != runs.EVALUATION:
        _ = results["pictures"]["train"]
    _ = results["method"], results["protocol"], results["dataset"], results["data_hashes"]["train"]
    for scores in (results["accuracy"], results["zero_shot"]):
        _ = [float(scores[key]) for key in results["accuracy"]]
    lengths = {len(results["per_iteration"][key]) for key in results["accuracy"]}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError("per_iteration has different lengths for different test sets")
    _ = list(results["skipped_pictures"])
    if "h" in results:
        _ = float(results["h"]), float(results["zero_shot"]["h"])
    if "ranks" in results:
        _ = [
            results[field][key]
            for field in ("ranks", "zero_shot_ranks")
            for key in results["accuracy"]
        ]
    else:
        _ = [results["classes"][key] for key in results["accuracy"]]


def read_evaluations(workdir: pathlib.Path) -> dict[str, dict[str, Any]]:
    """Reads the finished tests of a stopped run, by test set; a damaged file counts as empty."""
    return hosts.from_first("evaluations", lambda: _read_evaluations(workdir))


def _read_evaluations(workdir: pathlib.Path) -> dict[str, dict[str, Any]]:
    try:
        content = dict(read_json(workdir / "evaluations.json", results_file.MOST_BYTES))
        check_seal(content)
        del content["digest"]
        return results_file.check_evaluations(content)
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def claim_workdir(workdir: pathlib.Path, identity: dict[str, Any]) -> None:
    """Locks the directory and writes the run's identity to run.json; raises as `lock_workdir`."""
    lock_workdir(workdir, identity)
    write_json(workdir / "run.json", seal(identity))


def lock_workdir(workdir: pathlib.Path, identity: dict[str, Any]) -> None:
    """Creates the directory and locks it until `release` or the end of this process.

    Raises:
        PromptError: it cannot be created or written to, belongs to another run, or is locked by
            another process.
    """
    if not hosts.is_first():
        return
    make_workdir(workdir)
    lock(workdir)
    owner = workdir / "run.json"
    if os.path.lexists(owner):
        try:
            there = dict(read_json(owner))
            check_seal(there)
            del there["digest"]
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise PromptError(
                f"{owner} is damaged, or of an earlier version ({type(error).__name__}: {error}); "
                "delete this file (the checkpoints have its content too), or use another --workdir"
            ) from error
        refuse_other_run(workdir, identity, there)


@contextlib.contextmanager
def release_on_error(workdir: pathlib.Path) -> Iterator[None]:
    """Releases the lock on an error, and removes the claim if the run has saved nothing yet.

    After a run that is rejected or diverges early, the corrected run can use the directory.
    """
    try:
        yield
    except (PromptError, DataError):
        unclaim(workdir)
        raise
    except BaseException:
        release(workdir)
        raise


def unclaim(workdir: pathlib.Path) -> None:
    """Releases the lock, and removes the claim if the run has saved nothing."""
    if not hosts.is_first():
        return
    checkpoints = workdir / "checkpoints"
    with contextlib.suppress(OSError):
        checkpoints.rmdir()  # only if it is empty
    saved = (checkpoints, workdir / "evaluations.json", workdir / "results.json")
    if not any(path.exists() for path in saved):
        (workdir / "run.json").unlink(missing_ok=True)
    release(workdir)


def lock(workdir: pathlib.Path) -> None:
    """Locks an existing directory; raises a PromptError if another process holds the lock."""
    path = workdir / "lock"
    if path in _LOCKS:
        if _is_ours(path):
            return
        os.close(_LOCKS.pop(path))
    file = os.open(path, os.O_CREAT | os.O_RDWR)
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        tasks = [os.environ.get(name, "1") for name in _TASKS]
        hint = "" if set(tasks) == {"1"} else ", or pass --distributed to train with all processes"
        raise PromptError(
            f"another process is running in {workdir}; wait for it, or use another --workdir{hint}"
        ) from None
    _LOCKS[path] = file


def release(workdir: pathlib.Path) -> None:
    """Releases the lock; removes the directory if nothing was written to it."""
    path = workdir / "lock"
    file = _LOCKS.pop(path, None)
    if file is not None:
        path.unlink(missing_ok=True)
        os.close(file)
        with contextlib.suppress(OSError):
            workdir.rmdir()  # only if nothing was written


def refuse_removed(workdir: pathlib.Path) -> None:
    """Raises a PromptError if the directory that this process locked was removed or replaced."""
    path = workdir / "lock"
    if path in _LOCKS and not _is_ours(path):
        raise PromptError(
            f"{workdir} was removed or replaced during its run, with everything that the run had "
            "written; run again"
        )


def _is_ours(path):
    try:
        return os.path.samestat(path.stat(), os.fstat(_LOCKS[path]))
    except OSError:
        return False


def make_workdir(workdir: pathlib.Path) -> None:
    """Creates the directory.

    Raises:
        PromptError: it cannot be created or written to.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "it is a file" if workdir.is_file() else error.strerror
        raise PromptError(f"--workdir={workdir} cannot be created: {reason}") from error
    for folder in (workdir / "checkpoints", workdir / "tensorboard"):
        if folder.exists() and not folder.is_dir():
            raise PromptError(f"{folder} is a file, not a directory; move it away")
    if not os.access(workdir, os.W_OK):
        raise PromptError(f"--workdir={workdir} is not writable; choose another directory")


def write_json(path: pathlib.Path, content: Any) -> None:
    """Writes JSON atomically and durably, on host 0."""
    if hosts.is_first():
        write_text(path, json.dumps(content, indent=1) + "\n")
    if path.name in ("evaluations.json", "results.json"):
        interrupts.record_saved()


def git_commit() -> str:
    """Returns the commit of this code, "+changes" if the tree differs; "unknown" outside git."""
    folder = pathlib.Path(__file__).parent

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        commit = git("rev-parse", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no")
    except OSError:
        return "unknown"
    return (commit + ("+changes" if changed else "")) or "unknown"
