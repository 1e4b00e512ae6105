"""Several real processes over loopback train as one does."""

import json
import os
import socket

import numpy as np
import pytest
import tiny

CACHE: dict[str, str] = {}  # of compiled programs; `tiny.run_main` sets another one


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The command line of a small run, and where its data is."""
    folder = tmp_path_factory.mktemp("hosts")
    CACHE["JAX_COMPILATION_CACHE_DIR"] = os.environ["JAX_COMPILATION_CACHE_DIR"]
    root = tiny.save_caltech101(folder / "data")
    return tiny.small_config("coop", tiny.save_clip(folder / "clip"), root), folder


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def start(config, workdir, count=2, **different):
    """Starts the hosts of a run; `different` are arguments of single hosts, by "host1"."""
    flags = [f"--coordinator=127.0.0.1:{free_port()}", f"--num_processes={count}"]
    words = ["-m", "experiments.main", *tiny.arguments(config, workdir), *flags]
    return [
        tiny.command(*words, f"--process_id={i}", *different.get(f"host{i}", ()), **CACHE)
        for i in range(count)
    ]


def end(hosts, seconds=120):
    """What became of the hosts: exit code, stdout and stderr of each."""
    try:
        texts = [host.communicate(timeout=seconds) for host in hosts]
    finally:
        for host in hosts:
            host.kill()
    return [(host.returncode, *text) for host, text in zip(hosts, texts, strict=True)]


def losses(workdir):
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def check_same(one, other, rtol=1e-5):
    """Checks prompts, losses and results of two run directories."""
    arrays = tiny.prompts_of(other)
    for name, array in tiny.prompts_of(one).items():
        if "prompts" in name:
            np.testing.assert_allclose(arrays[name], array, rtol=rtol, atol=1e-6, err_msg=name)
    assert losses(other) == pytest.approx(losses(one), rel=rtol)
    results, others = (json.loads((folder / "results.json").read_text()) for folder in (one, other))
    for name in ("accuracy", "zero_shot", "per_iteration", "pictures", "class_accuracy", "config"):
        assert others[name] == results[name], name
    files = [sorted(path.name for path in folder.iterdir()) for folder in (one, other)]
    assert files[0] == files[1]


def test_two_hosts_train_as_one_does(run, tmp_path, monkeypatch):
    config, _ = run
    assert tiny.run_main(tiny.arguments(config, tmp_path / "one"), monkeypatch) == 0
    (code, out, err), (other_code, other_out, other_err) = end(start(config, tmp_path / "two"))
    assert (code, other_code) == (0, 0), err + other_err
    assert "run directory:" in out
    assert not [line for line in other_out.splitlines() if "[Gloo]" not in line]
    check_same(tmp_path / "one", tmp_path / "two")
