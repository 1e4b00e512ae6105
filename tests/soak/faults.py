"""Training runs that are killed, stopped, out of space or without a worker, and then resume."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
from ml_collections import ConfigDict
from rich.console import Console
from rich.table import Table

from tests.helpers import tiny

EPOCHS, STEPS_PER_EPOCH = 80, 3
TOTAL = EPOCHS * STEPS_PER_EPOCH
_PATIENCE = 300.0  # seconds until a run counts as hanging
_TERMINATED = 128 + signal.SIGTERM
_MOMENTS = ("any time", "training", "training", "checkpoint", "checkpoint", "log")
_LEFTOVERS = (".unfinished", "-tmp")


@dataclass(frozen=True)
class Setting:
    """The shared settings of all runs: a config, the directory, the cache of compiled programs."""

    config: ConfigDict
    folder: Path
    environment: dict[str, str]

    def start(self, workdir: Path, *words: str, before: tuple[str, ...] = ()) -> subprocess.Popen:
        """Starts the run in `workdir`, as an argument of another command if there is one."""
        arguments = tiny.arguments(self.config, workdir)
        return subprocess.Popen(
            [*before, sys.executable, "-m", "experiments.main", *arguments, *words],
            cwd=tiny.REPOSITORY,
            env=os.environ | {"JAX_PLATFORMS": "cpu", "COLUMNS": "200"} | self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )


def run(kills: int, seed: int, folder: Path, console: Console) -> int:
    """Kills runs, then tries other faults; shows a table and returns the number of failures."""
    clip = tiny.save_clip(folder / "clip")
    root = tiny.save_caltech101(folder / "data", train=3, test=60)
    config = tiny.small_config("coop", clip, root, context_length=2)
    config.epochs = EPOCHS
    table = Table(title=f"faults of seed {seed}", title_justify="left")
    for head in ("fault", "what came of it", ""):
        table.add_column(head, overflow="fold")
    wrong = 0
    with tiny.compiled_once(folder / "compiled") as environment:
        setting = Setting(config, folder, environment)
        began = time.monotonic()
        code, errors = _finish(setting.start(folder / "whole"))
        if code:
            raise RuntimeError(f"the run that nothing happens to ended with {code}: {errors}")
        console.print(f"an undisturbed run took {time.monotonic() - began:.0f} s")
        faults: dict[str, Callable[[], list[str]]] = {
            f"{kills} × SIGKILL": lambda: _kills(setting, kills, Random(seed), console),
            "SIGTERM": lambda: _terminated(setting),
            "full disk": lambda: _full_disk(setting),
            "a killed data worker": lambda: _killed_worker(setting),
        }
        for name, fault in faults.items():
            console.print(f"{name} …")
            found = fault()
            failed = [line for line in found if not line.startswith("(")]
            wrong += bool(failed)
            good = "goes on; same prompts, optimizer, scores, log"
            table.add_row(name, "\n".join(found) or good, "failed" if failed else "")
    console.print(table)
    return wrong


def _kills(setting: Setting, kills: int, random: Random, console: Console) -> list[str]:
    """Kills runs at random moments and restarts them; a finished run is followed by another."""
    found: list[str] = []
    workdirs = [setting.folder / "killed-0"]
    for number in range(kills):
        workdir = workdirs[-1]
        late = number >= 0.8 * kills and newest(workdir) < TOTAL
        moment = "evaluation" if late or newest(workdir) == TOTAL else random.choice(_MOMENTS)
        before = newest(workdir)
        process = setting.start(workdir)
        try:
            _wait_for(moment, process, workdir, random)
            code = process.poll()
            process.send_signal(signal.SIGKILL)
        finally:
            process.kill()
            errors = process.communicate()[1]
        console.print(
            f"  {number + 1}: {moment}, steps {before} to {newest(workdir)}", highlight=False
        )
        if code not in (None, 0):
            found.append(
                f"kill {number + 1} ({moment}): ended by itself with {code}: {errors[-500:]}"
            )
        found += [f"kill {number + 1} ({moment}): {line}" for line in _torn(workdir)]
        if code == 0:
            workdirs.append(setting.folder / f"killed-{len(workdirs)}")
    for workdir in workdirs:
        found += _goes_on(setting, workdir)
    return found


def _wait_for(moment: str, process: subprocess.Popen, workdir: Path, random: Random) -> None:
    """Returns at that moment, or when the process has ended."""
    checkpoints, log = workdir / "checkpoints", workdir / "metrics.jsonl"
    before, size = newest(workdir), _size(log)
    if moment == "any time":
        _wait(process, lambda: False, random.uniform(0, 15))
        return
    # After the earlier steps; a run that is killed early every time would never end.
    wanted = TOTAL if moment == "evaluation" else min(TOTAL, before + random.randint(1, 20))
    _wait(process, lambda: newest(workdir) >= wanted)
    match moment:
        case "training":
            _wait(process, lambda: False, random.uniform(0, 0.5))
        case "evaluation":
            _wait(process, lambda: False, random.uniform(0, 3))
        case "checkpoint":
            _wait(
                process, lambda: any(not path.name.isdigit() for path in _entries(checkpoints)), 5
            )
            time.sleep(random.uniform(0, 0.03))
        case "log":
            size = _size(log)
            _wait(process, lambda: _size(log) != size, 5)


def _wait(
    process: subprocess.Popen, reached: Callable[[], bool], seconds: float = _PATIENCE
) -> None:
    deadline = time.monotonic() + seconds
    while process.poll() is None and not reached() and time.monotonic() < deadline:
        time.sleep(0.001)


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def newest(workdir: Path) -> int:
    """Returns the newest checkpoint's step, 0 if there is none."""
    steps = [int(path.name) for path in _entries(workdir / "checkpoints") if path.name.isdigit()]
    return max(steps, default=0)


def _finish(process: subprocess.Popen) -> tuple[int, str]:
    """Waits for the end; returns exit code and stderr."""
    try:
        errors = process.communicate(timeout=_PATIENCE)[1]
        return process.returncode, errors
    except subprocess.TimeoutExpired:
        process.kill()
        return -1, f"it was still running after {_PATIENCE:g} s: {process.communicate()[1]}"


def _goes_on(setting: Setting, workdir: Path) -> list[str]:
    """Starts the run once more and compares its files with the undisturbed run."""
    code, errors = _finish(setting.start(workdir))
    if code or "Traceback" in errors:
        return [f"started again, it ended with {code}: {errors[-1000:]}"]
    return differences(workdir, setting.folder / "whole")


def differences(one: Path, other: Path) -> list[str]:
    """Returns the differences between two finished runs, and unfinished files of the first."""
    found = []
    arrays, theirs = tiny.prompts_of(one), tiny.prompts_of(other)
    if arrays.keys() != theirs.keys():
        found.append("other arrays in the last checkpoint")
    else:
        found += [f"other numbers: {n}" for n in arrays if not np.array_equal(arrays[n], theirs[n])]
    scores = [json.loads((run / "results.json").read_text()) for run in (one, other)]
    for key in ("base", "new", "h", "per_iteration", "zero_shot", "config", "classes", "pictures"):
        if scores[0][key] != scores[1][key]:
            found.append(f"results.json: {key}: {scores[0][key]} instead of {scores[1][key]}")
    if _log(one) != _log(other):
        found.append("metrics.jsonl: other lines")
    names = [path.relative_to(one).as_posix() for path in one.rglob("*")]
    left = [name for name in names if name == "lock" or any(end in name for end in _LEFTOVERS)]
    return found + ([f"left behind: {', '.join(left[:5])}"] if left else [])


def _log(workdir: Path) -> list[tuple]:
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [(line["step"], line["loss"], line["accuracy"]) for line in lines]


def _torn(workdir: Path) -> list[str]:
    """Returns incomplete files."""
    found = []
    for name in ("results.json", "run.json", "evaluations.json"):
        path = workdir / name
        try:
            if path.exists():
                json.loads(path.read_text())
        except ValueError as error:
            found.append(f"{name} is torn: {error}")
    return found


def _said(code: int, errors: str, wanted: int, most: int = 1) -> list[str]:
    """Returns whether a run ended as it should, with a message of one line, or of `most`."""
    found = [] if code == wanted else [f"exit code {code}, not {wanted}"]
    # Progress is written to the same stream.
    lines = [line for line in errors.splitlines() if not line.startswith(("training ", "coop on"))]
    if "Traceback" in errors or not 1 <= len(lines) <= most:
        found.append(f"{len(lines)} lines instead of one sentence: {errors[-600:]}")
    return found


def _terminated(setting: Setting) -> list[str]:
    workdir = setting.folder / "terminated"
    process = setting.start(workdir)
    _wait(process, lambda: newest(workdir) >= TOTAL // 4)
    process.send_signal(signal.SIGTERM)
    # It confirmed the signal, and that it stopped.
    return _said(*_finish(process), _TERMINATED, most=2) + _goes_on(setting, workdir)


def _full_disk(setting: Setting) -> list[str]:
    """Runs in a separate file system that is too small, and is enlarged then."""
    workdir = setting.folder / "full"
    for folder in (workdir, setting.folder / "full-after"):
        folder.mkdir()
    mount = "mount -t tmpfs -o size=200k tmpfs"
    unshare = ("unshare", "--user", "--map-root-user", "--mount")
    try:
        subprocess.run([*unshare, *mount.split(), workdir], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return ["(not tried: no file system of its own may be mounted here)"]
    script = (
        f'{mount} "$0"; "$@"; echo "code $?" >&2\n'
        'mount -o remount,size=100m "$0"; "$@"; echo "code $?" >&2\n'
        'cp -r "$0/." "$0-after"'
    )
    process = setting.start(workdir, before=(*unshare, "bash", "-c", script, str(workdir)))
    _, errors = _finish(process)
    first, _, second = errors.partition("code ")
    found = _said(int(second.split()[0]), first, 2)
    if not second.rstrip().endswith("code 0"):
        return [*found, f"with more space it did not go on: {second[-600:]}"]
    return found + differences(setting.folder / "full-after", setting.folder / "whole")


def _killed_worker(setting: Setting) -> list[str]:
    workdir = setting.folder / "worker"
    process = setting.start(workdir, "--config.data.num_workers=1")
    _wait(process, lambda: newest(workdir) >= TOTAL // 4)
    workers = [pid for pid in _children(process.pid) if _is_worker(pid)]
    if not workers:
        process.kill()
        process.communicate()
        return ["no data worker was found to kill"]
    os.kill(workers[0], signal.SIGKILL)
    return _said(*_finish(process), 2) + _goes_on(setting, workdir)


def _children(process: int) -> list[int]:
    """Returns the child processes of a process."""
    found = []
    for task in Path(f"/proc/{process}/task").iterdir():
        found += [int(word) for word in (task / "children").read_text().split()]
    return found


def _is_worker(process: int) -> bool:
    words = Path(f"/proc/{process}/cmdline").read_bytes()
    return b"spawn_main" in words or b"forkserver" in words or b"experiments.main" in words
