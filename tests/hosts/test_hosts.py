"""Several real processes over loopback train like one process, and end together."""

import contextlib
import json
import os
import random
import re
import signal
import socket
import time

import numpy as np
import pytest
import tiny

CACHE: dict[str, str] = {}  # of compiled programs; `tiny.run_main` sets another
# A host that receives a signal after a checkpoint.
SIGNALED = """
import os, signal, sys, time
from prompt_jax.training.checkpoint import Checkpoints
save = Checkpoints.save
def save_and_signal(self, step, *rest):
    save(self, step, *rest)
    if step >= {step}:
        os.kill(os.getpid(), signal.{signal}) if step == {step} else time.sleep(1)
Checkpoints.save = save_and_signal
from experiments.cli import command_line
sys.exit(command_line.run("experiments.main", "main", sys.argv))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    CACHE["JAX_COMPILATION_CACHE_DIR"] = os.environ["JAX_COMPILATION_CACHE_DIR"]
    folder = tmp_path_factory.mktemp("hosts")
    tiny.save_caltech101(folder / "data")
    tiny.save_clip(folder / "clip")
    return folder


def config_of(folder, method="coop", **settings):
    config = tiny.small_config(method, folder / "clip", folder / "data", **settings)
    config.epochs = 4
    return config


@pytest.fixture(scope="module")
def both(folder):
    """Returns the run directories of one process, and of two hosts."""
    config = config_of(folder)
    words = ["-m", "experiments.main", *tiny.arguments(config, folder / "one")]
    [(code, _, err)] = end([tiny.command(*words, **CACHE)])
    assert code == 0, err
    hosts = start_with_slurm(config, folder / "two")
    (code, out, err), (other_code, other_out, other_err) = end(hosts)
    assert (code, other_code) == (0, 0), err + other_err
    assert "run directory:" in out  # only host 0 prints
    assert not [line for line in other_out.splitlines() if "[Gloo]" not in line]
    return folder / "one", folder / "two"


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def start(config, workdir, count=2, program=("-m", "experiments.main"), last=(), **environment):
    """Starts the hosts of a run; the last one may run another program, or have more arguments."""
    flags = [f"--coordinator=127.0.0.1:{free_port()}", f"--num_processes={count}"]
    words = [*tiny.arguments(config, workdir), *flags]
    usual = ("-m", "experiments.main")
    return [
        tiny.command(*usual, *words, f"--process_id={i}", **CACHE, **environment)
        for i in range(count - 1)
    ] + [tiny.command(*program, *words, f"--process_id={count - 1}", *last, **CACHE, **environment)]


def start_with_slurm(config, workdir):
    """Starts two hosts as `srun --ntasks=2 … --distributed` does."""
    while True:
        job = random.randrange(2**12)
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", 2**16 - 2**12 + job))  # JAX computes the port from the job
            break
    slurm = {"JOB_ID": str(job), "STEP_NODELIST": "localhost", "NTASKS": "2", "LOCALID": "0"}
    variables = CACHE | {f"SLURM_{name}": value for name, value in slurm.items()}
    words = ["-m", "experiments.main", *tiny.arguments(config, workdir), "--distributed"]
    return [tiny.command(*words, **variables, SLURM_PROCID=str(i)) for i in range(2)]


def end(hosts, seconds=150):
    """Waits for the hosts; returns exit code, stdout and stderr of each."""
    try:
        texts = [host.communicate(timeout=seconds) for host in hosts]
    finally:
        for host in hosts:
            host.kill()
    return [(host.returncode, *text) for host, text in zip(hosts, texts, strict=True)]


def figures(workdir):
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    losses = [json.loads(line)["loss"] for line in lines]
    return losses, json.loads((workdir / "results.json").read_text())


def check_same(one, other, rtol=1e-5):
    """Checks that prompts, losses and results of two run directories are equal."""
    arrays, expected = (
        {name: array for name, array in tiny.prompts_of(run).items() if "prompts" in name}
        for run in (other, one)
    )
    assert arrays.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(arrays[name], array, rtol=rtol, atol=1e-6, err_msg=name)
    (losses, results), (other_losses, others) = figures(one), figures(other)
    assert other_losses == pytest.approx(losses, rel=rtol)
    for name in ("accuracy", "zero_shot", "per_iteration", "pictures", "class_accuracy", "config"):
        assert others[name] == results[name], name
    files = [sorted(path.name for path in folder.iterdir()) for folder in (one, other)]
    assert files[0] == files[1]


def test_two_hosts_train_like_one(both):
    check_same(*both)
    # Batches of 4 and 6 test images: the padding of the last batch is on the second host.
    assert figures(both[1])[1]["pictures"] == {"train": 6, "test_base": 6, "test_new": 6}


@pytest.mark.slow
def test_hosts_stop_together_and_resume(folder, both):
    config, workdir = config_of(folder), folder / "stopped"
    program = "-c", SIGNALED.format(step=2, signal="SIGTERM")
    (code, _, err), (other_code, _, other_err) = end(start(config, workdir, program=program))
    assert (code, other_code) == (130, 143), err + other_err
    steps = [int(step) for step in re.findall(r"stopped after step (\d+) of 12", err + other_err)]
    assert steps
    assert len(set(steps)) == 1
    assert (workdir / "checkpoints" / str(steps[0])).is_dir()

    program = "-c", SIGNALED.format(step=10, signal="SIGKILL")
    began = time.monotonic()
    (code, out, err), (other_code, _, _) = end(start(config, workdir, program=program))
    assert time.monotonic() - began < 90  # starting both included
    assert (code, other_code) == (2, -signal.SIGKILL), err
    assert f"resuming from step {steps[0]} of 12" in out
    assert re.search(r"error: host 1 \(.+\) does not answer: .* run again on all hosts", err), err
    assert "Traceback" not in err

    (code, out, err), (other_code, _, other_err) = end(start(config, workdir))
    assert (code, other_code) == (0, 0), err + other_err
    assert "resuming from step 10 of 12" in out
    arrays = tiny.prompts_of(both[1])
    for name, array in tiny.prompts_of(workdir).items():
        np.testing.assert_array_equal(arrays[name], array, err_msg=name)
    assert figures(workdir)[0] == figures(both[1])[0]


@pytest.mark.slow
def test_killing_host_0_ends_the_others(folder, tmp_path):
    config, port = config_of(folder), free_port()
    words = tiny.arguments(config, tmp_path / "run")
    words += [f"--coordinator=127.0.0.1:{port}", "--num_processes=2"]
    program = "-c", SIGNALED.format(step=4, signal="SIGKILL")
    first = tiny.command(*program, *words, "--process_id=0", **CACHE)
    second = tiny.command("-m", "experiments.main", *words, "--process_id=1", **CACHE)
    (code, _, _), (other_code, _, err) = end([first, second])
    assert code == -signal.SIGKILL, err
    if other_code == -signal.SIGABRT:  # XLA may end the process before it says the same
        assert "Terminating process because the JAX distributed service" in err
        return
    assert other_code == 2, err
    assert re.match(r"error: host 0 \(.+\) does not answer: ", err.splitlines()[-1]), err


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (
            lambda _: "--config.seed=2",
            "config.seed: 2 there, 1 here; start all hosts with the same",
        ),
        (
            lambda folder: (
                f"--config.backbone={tiny.save_clip(folder / 'b', 'text/block_0/fc/bias')}"
            ),
            r"the hash of the backbone: '\w+' there, '\w+' here; give all hosts the same backbone",
        ),
        (
            lambda folder: f"--config.data.root={other_data(folder)}",
            r"the files of the training data: '\w+' there, '\w+' here; give all hosts the same",
        ),
    ],
    ids=["config", "backbone", "data"],
)
def test_a_host_with_other_data_is_named(folder, tmp_path, change, field):
    hosts = start(config_of(folder), tmp_path / "run", last=[change(tmp_path)])
    for code, _, err in end(hosts):
        assert code == 2, err
        assert re.search(rf"error: host 1 \(.+\) differs from host 0 \(.+\) in {field}", err), err
    assert not (tmp_path / "run").exists()


def other_data(folder):
    root = tiny.save_caltech101(folder / "data")
    for image in sorted((root / "caltech-101").glob("*/*/image_0000.jpg")):
        image.write_bytes(image.read_bytes() + b"\0")
    return root


def test_an_error_on_one_host_ends_all(folder, tmp_path):
    missing = tmp_path / "nothing"
    hosts = start(config_of(folder), tmp_path / "run", last=[f"--config.data.root={missing}"])
    (code, _, err), (other_code, _, other_err) = end(hosts)
    assert (code, other_code) == (2, 2), err + other_err
    assert str(missing) in other_err
    assert re.search(rf"error: host 1 \(.+\): .*{missing}", err), err


def test_an_unreachable_coordinator_is_named(folder, tmp_path):
    port = free_port()
    words = tiny.arguments(config_of(folder), tmp_path / "run")
    words += [f"--coordinator=127.0.0.1:{port}", "--num_processes=2", "--connect_seconds=2"]
    starts = [
        tiny.command("-m", "experiments.main", *words, f"--process_id={number}") for number in (1,)
    ]
    [(code, _, err)] = end(starts)
    assert code == 2
    assert err.startswith(f"error: --coordinator=127.0.0.1:{port} cannot be reached within 2 s")
    # Host 0 waits for others that do not connect.
    [(code, _, err)] = end([tiny.command("-m", "experiments.main", *words, "--process_id=0")])
    assert code == 2
    assert err.startswith(f"error: not all hosts of 2 connected to 127.0.0.1:{port} within 2 s")
    assert len(err.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "devices", "method", "changes"),
    [
        (4, 1, "pro_mpt", {"batch_size": 4, "settings.vision_depth": 2}),
        (2, 2, "pro_mpt", {"batch_size": 4, "settings.vision_depth": 2, "mesh": "model:2"}),
        (2, 1, "tip_adapter_f", {"cached_views": 2}),
    ],
    ids=["4 hosts", "mesh", "cached features"],
)
def test_hosts_train_like_one(folder, tmp_path, count, devices, method, changes):
    config = config_of(folder, method)
    config.update_from_flattened_dict(changes)
    config.epochs = 2
    flags = os.environ["XLA_FLAGS"]
    alone = f"{flags} --xla_force_host_platform_device_count={count * devices}"
    words = ["-m", "experiments.main", *tiny.arguments(config, tmp_path / "one")]
    ended = end([tiny.command(*words, **CACHE, XLA_FLAGS=alone)])
    each = f"{flags} --xla_force_host_platform_device_count={devices}"
    ended += end(start(config, tmp_path / "several", count, XLA_FLAGS=each))
    assert not any(code for code, _, _ in ended), ended
    check_same(tmp_path / "one", tmp_path / "several")


@pytest.mark.slow
def test_hosts_train_several_seeds_together(folder, tmp_path):
    config = config_of(folder)
    config.epochs, config.seeds, config.parallel_seeds = 2, (1, 2), True
    words = ["-m", "experiments.main", *tiny.arguments(config, tmp_path / "one")]
    ended = end([tiny.command(*words, **CACHE)]) + end(start(config, tmp_path / "two"))
    assert not any(code for code, _, _ in ended), ended
    runs = [path.parent for path in sorted((tmp_path / "one").glob("*/*/*/results.json"))]
    assert len(runs) == 2
    for run in runs:
        check_same(run, tmp_path / "two" / run.relative_to(tmp_path / "one"))
        assert not list(run.parent.glob("together-*"))
