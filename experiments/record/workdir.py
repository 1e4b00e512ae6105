"""The folder of one run: whose it is, what finished runs left there, files written whole."""

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
from experiments.record.identity import refuse_other_run
from prompt_jax.errors import PromptError
from prompt_jax.files import check_seal, read_json, seal, write_text

# A lock lasts as long as its file is open, and so ends with the process at the latest.
_LOCKS: dict[pathlib.Path, int] = {}


def read_results(workdir: pathlib.Path) -> dict[str, Any] | None:
    """The results that a finished run left in `workdir`, or None.

    Raises:
        PromptError: the file there is not what a run writes.
    """
    path = workdir / "results.json"
    if not path.exists():
        return None
    try:
        results = read_json(path)
        check_seal(results)
        runs.parse(path, results)
        check_results(results)
    except (OSError, ValueError, *runs.WRONG_CONTENT) as error:
        raise PromptError(
            f"{path} is damaged ({type(error).__name__}: {error}); delete it to finish that run "
            "again from its checkpoint"
        ) from error
    return results


def read_finished(folder: pathlib.Path) -> dict[str, Any]:
    """The results of a finished run.

    Raises:
        PromptError: there are none, or they are not what a run writes.
    """
    results = read_results(folder)
    if results is None:
        raise PromptError(f"{folder} holds no results.json of a finished run; give a run's folder")
    return results


def check_results(results: dict[str, Any]) -> None:
    """Raises whatever a results.json that lacks what is printed of it makes Python raise."""
    _ = results["backbone_hash"], results["config"]["backbone"]
    if results["protocol"] != runs.EVALUATION:
        _ = results["pictures"]["train"]
    _ = results["method"], results["protocol"], results["dataset"], results["data_hashes"]["train"]
    for scores in (results["accuracy"], results["zero_shot"]):
        _ = [float(scores[key]) for key in results["accuracy"]]
    _ = [list(results["per_iteration"][key]) for key in results["accuracy"]]
    _ = list(results["skipped_pictures"])
    if "h" in results:
        _ = float(results["h"]), float(results["zero_shot"]["h"])


def read_evaluations(workdir: pathlib.Path) -> dict[str, dict[str, Any]]:
    """What a stopped run has tested already, by key; what was torn or changed counts as nothing."""
    try:
        content = dict(read_json(workdir / "evaluations.json"))
        check_seal(content)
        del content["digest"]
    except (OSError, ValueError, TypeError, KeyError):
        return {}
    return content


def claim_workdir(workdir: pathlib.Path, identity: dict[str, Any]) -> None:
    """Locks the folder, and writes into run.json whose it is; raises as `lock_workdir`."""
    lock_workdir(workdir, identity)
    write_json(workdir / "run.json", seal(identity))


def lock_workdir(workdir: pathlib.Path, identity: dict[str, Any]) -> None:
    """Makes the folder and locks it against other processes, until `release` or this one's end.

    Raises:
        PromptError: it cannot be made or written to, it is another run's, or another process is
            at work in it.
    """
    make_workdir(workdir)
    lock(workdir)
    owner = workdir / "run.json"
    if owner.exists():
        try:
            there = dict(read_json(owner))
            check_seal(there)
            del there["digest"]
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise PromptError(
                f"{owner} is damaged, or of an earlier version ({type(error).__name__}: {error}); "
                "delete that file, as checkpoints know their run too, or use another --workdir"
            ) from error
        refuse_other_run(workdir, identity, there)


@contextlib.contextmanager
def giving_back(workdir: pathlib.Path) -> Iterator[None]:
    """Ends the lock when what it holds raises; and the claim, if that run has saved nothing yet.

    A run that is refused or diverges early is then not "another run" to the corrected one.
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
    """Ends the lock; and the claim, if nothing was saved that another run could take over."""
    checkpoints = workdir / "checkpoints"
    with contextlib.suppress(OSError):
        checkpoints.rmdir()  # only an empty one
    saved = (checkpoints, workdir / "evaluations.json", workdir / "results.json")
    if not any(path.exists() for path in saved):
        (workdir / "run.json").unlink(missing_ok=True)
    release(workdir)


def lock(workdir: pathlib.Path) -> None:
    """Locks a folder that is there; raises a PromptError if another process has."""
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
        raise PromptError(
            f"another process is running in {workdir}; wait for it, or use another --workdir"
        ) from None
    _LOCKS[path] = file


def release(workdir: pathlib.Path) -> None:
    """Ends the lock; a folder that nothing was written into goes as well."""
    path = workdir / "lock"
    file = _LOCKS.pop(path, None)
    if file is not None:
        path.unlink(missing_ok=True)
        os.close(file)
        with contextlib.suppress(OSError):
            workdir.rmdir()  # only if nothing was written


def refuse_removed(workdir: pathlib.Path) -> None:
    """Raises a PromptError if the folder that this process locked is not there any more."""
    path = workdir / "lock"
    if path in _LOCKS and not _is_ours(path):
        raise PromptError(
            f"{workdir} was removed or replaced while its run was going on, and with it what the "
            "run had written; run again"
        )


def _is_ours(path):
    try:
        return os.path.samestat(path.stat(), os.fstat(_LOCKS[path]))
    except OSError:
        return False


def make_workdir(workdir: pathlib.Path) -> None:
    """Makes the folder.

    Raises:
        PromptError: it cannot be made, or not be written to.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "it is a file" if workdir.is_file() else error.strerror
        raise PromptError(f"--workdir={workdir} cannot be made: {reason}") from error
    for folder in (workdir / "checkpoints", workdir / "tensorboard"):
        if folder.exists() and not folder.is_dir():
            raise PromptError(f"{folder} is a file where a folder belongs; move it away")
    if not os.access(workdir, os.W_OK):
        raise PromptError(f"--workdir={workdir} may not be written to; choose another folder")


def write_json(path: pathlib.Path, content: Any) -> None:
    """Writes all of it or nothing, also where the power fails."""
    write_text(path, json.dumps(content, indent=1) + "\n")


def git_commit() -> str:
    """The commit of this code, with "+changes" where the tree differs; "unknown" outside git."""
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
