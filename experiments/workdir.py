"""The folder of one run: whose it is, what finished runs left there, files written whole."""

import fcntl
import json
import os
import pathlib
import subprocess
from typing import Any

from experiments.identity import refuse_other_run
from prompt_jax.errors import PromptError

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
        results = json.loads(path.read_text())
        check_results(results)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise PromptError(
            f"{path} is damaged ({type(error).__name__}: {error}); delete it to finish that run "
            "again from its checkpoint"
        ) from error
    return results


def check_results(results: dict[str, Any]) -> None:
    """Raises whatever an incomplete results.json makes Python raise."""
    _ = results["backbone_hash"], results["pictures"]["train"], results["config"]["backbone"]
    _ = results["method"], results["protocol"], results["dataset"], results["data_hashes"]["train"]
    for key, value in results["accuracy"].items():
        _ = float(value), float(results["zero_shot"][key]), list(results["per_iteration"][key])


def read_evaluations(workdir: pathlib.Path) -> dict[str, dict[str, Any]]:
    """What a stopped run has tested already, by key; what a kill left torn counts as nothing."""
    try:
        return dict(json.loads((workdir / "evaluations.json").read_text()))
    except (OSError, ValueError, TypeError):
        return {}


def claim_workdir(workdir: pathlib.Path, identity: dict[str, Any]) -> None:
    """Makes the folder, and writes into run.json whose it is.

    The folder stays locked against other processes until `release`, or until this one ends.

    Raises:
        PromptError: it cannot be made or written to, it is another run's, or another process is
            at work in it.
    """
    make_workdir(workdir)
    _lock(workdir)
    owner = workdir / "run.json"
    if owner.exists():
        try:
            there = dict(json.loads(owner.read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise PromptError(f"{owner} is damaged ({error}); use another --workdir") from error
        refuse_other_run(workdir, identity, there)
    write_json(owner, identity)


def _lock(workdir: pathlib.Path) -> None:
    path = workdir / "lock"
    if path in _LOCKS:
        return
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
    """Ends the lock of `claim_workdir`."""
    path = workdir / "lock"
    file = _LOCKS.pop(path, None)
    if file is not None:
        path.unlink(missing_ok=True)
        os.close(file)


def make_workdir(workdir: pathlib.Path) -> None:
    """Makes the folder.

    Raises:
        PromptError: it cannot be made, or not be written to.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PromptError(f"--workdir={workdir} cannot be made: {error.strerror}") from error
    for folder in (workdir / "checkpoints", workdir / "tensorboard"):
        if folder.exists() and not folder.is_dir():
            raise PromptError(f"{folder} is a file where a folder belongs; move it away")
    if not os.access(workdir, os.W_OK):
        raise PromptError(f"--workdir={workdir} may not be written to; choose another folder")


def write_json(path: pathlib.Path, content: Any) -> None:
    """Writes all of it or nothing."""
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(content, indent=1) + "\n")
    unfinished.replace(path)


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
