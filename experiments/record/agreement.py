"""Checks that the hosts of a run agree on its config, backbone, data and directory."""

import hashlib
import os
import pathlib
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from data_pipelines.batches.mixing import GROUP
from data_pipelines.examples import Dataset, Example
from experiments.config.config import Config
from experiments.record import identity, workdir
from prompt_jax.cli import hosts
from prompt_jax.errors import PromptError

# Each host may have its own copies of the data and the backbone; their hashes are compared.
OWN = ("data.root", "data.num_threads", "data.num_workers", "backbone")
SECONDS_TO_SHOW = 30.0  # a network file system shows a new file to others after a while
_TOKEN = "hosts"


def check_config(config: Config) -> None:
    """Checks that all hosts have the same config and software, and that it supports hosts.

    Raises:
        PromptError: names the host and the field that differ, or the field to change.
    """
    if hosts.count() == 1:
        return
    software = {
        "the version of JAX": jax.__version__,
        "the commit of this code": workdir.git_commit(),
        "the kind of devices": jax.local_devices()[0].device_kind,
        "the number of devices": jax.local_device_count(),
    }
    fields = {
        f"config.{name}": value
        for name, value in identity.flat(identity.as_json(config))
        if name not in OWN
    }
    hosts.check_same(fields | software, "start all hosts with the same command and software")
    if config.data.mix and config.batch_size % (GROUP * hosts.count()):
        raise PromptError(
            f"config.batch_size={config.batch_size} and config.data.mix=True: videos are mixed in "
            f"groups of {GROUP}, so {hosts.count()} hosts need a multiple of "
            f"{GROUP * hosts.count()}"
        )


def check_run(of: Mapping[str, Any], train: Dataset, tests: Mapping[str, Dataset]) -> None:
    """Checks that all hosts have the same backbone and data.

    Args:
        of: identity of the run.
        train, tests: its data sets, without excluded images.

    Raises:
        PromptError: names the host and the field that differ.
    """
    if hosts.count() == 1:
        return
    images = of["pictures"]["contents"]
    facts = {
        "the hash of the backbone": of["backbone"]["hash"],
        "the prompts of config.init_from": of["init_from"],
        "the texts of classes": of["texts"],
        "the hash of the second backbone": of["second_backbone"],
        "the files of the training data": images["train"],
        **{f"the files of the test set {key}": one for key, one in images["tests"].items()},
        "the list of training data": _digest((*train.train, *train.val)),
        **{f"the list of the test set {key}": _digest(one.test) for key, one in tests.items()},
        **{f"the preprocessing: {key}": one for key, one in of.get("preprocessing", {}).items()},
    }
    hosts.check_same(facts, "give all hosts the same backbone and the same files of the data")


def _digest(examples: Sequence[Example]) -> str:
    return hashlib.sha256(repr(examples).encode("utf-8", "backslashreplace")).hexdigest()[:16]


def check_directory(folder: pathlib.Path) -> None:
    """Checks that all hosts see the run directory, which host 0 has created.

    Raises:
        PromptError: names a host that does not.
    """
    if hosts.count() == 1:
        return
    path = folder / _TOKEN

    def write() -> str:
        path.write_text(token := secrets.token_hex(8))
        return token

    token = hosts.from_first("token", write)
    until = time.monotonic() + SECONDS_TO_SHOW
    while not (seen := _reads(path, token)) and time.monotonic() < until:
        time.sleep(0.5)
    all_see = hosts.gather("token seen", seen)
    if hosts.is_first():
        path.unlink()
    if not all(all_see):
        raise PromptError(
            f"--workdir={folder} is not the same directory on {hosts.name(all_see.index(False))} "
            "and host 0; with several hosts it must be on a file system that all of them share"
        )


def _reads(path: pathlib.Path, token: str) -> bool:
    try:
        os.listdir(path.parent)  # refreshes the listing of a network file system
        return path.read_text() == token
    except OSError:
        return False
