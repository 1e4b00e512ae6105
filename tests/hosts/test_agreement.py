"""Values that hosts exchange, the step at which they stop, and reported differences."""

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import tiny

from data_pipelines import datasets
from experiments.config.config import read
from experiments.record import agreement
from experiments.setup.batches import make_batches
from prompt_jax.cli import connecting, hosts
from prompt_jax.errors import PromptError
from prompt_jax.training.sharding import Placement


class Store:
    """The key-value store of `jax.distributed`, for hosts that are threads."""

    def __init__(self):
        self._values, self._changed = {}, threading.Condition()

    def key_value_set(self, key, value, allow_overwrite=False):
        with self._changed:
            assert allow_overwrite or key not in self._values
            self._values[key] = value
            self._changed.notify_all()

    def key_value_dir_get(self, start):
        with self._changed:
            return [(k, v) for k, v in self._values.items() if k.startswith(start)]

    def blocking_key_value_get(self, key, milliseconds):
        with self._changed:
            assert self._changed.wait_for(lambda: key in self._values, 20)
            return self._values[key]


@pytest.fixture
def joined(monkeypatch):
    """Returns two hosts, which are threads; the first one belongs to this process."""
    monkeypatch.setattr(hosts, "SECONDS_BETWEEN_HEARTBEATS", 0.01)
    store, made = Store(), {}

    def join(index):
        made[index] = hosts.ProcessGroup(store, index, 2)

    together(lambda index: join(index))
    monkeypatch.setattr(hosts, "_group", made[0])
    yield [made[0], made[1]]
    for one in made.values():
        one.finished = True


def together(function):
    """Calls a function with the number of each host, in threads; returns the results."""
    found = {}
    threads = [
        threading.Thread(target=lambda i=i: found.update({i: function(i)})) for i in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return found


def test_values_are_in_the_order_of_hosts(joined):
    for values in ((1, 2), ({"a": None}, [3])):
        found = together(lambda i, values=values: joined[i].gather("x", values[i]))
        assert found == {0: [*values], 1: [*values]}
    found = together(lambda i: joined[i].gather("y", i, only_first=True))
    assert found == {0: [0], 1: [0]}


@pytest.mark.parametrize("asked_at", [1, 5])
def test_hosts_stop_after_the_same_step(joined, asked_at):
    def train(index):
        for step in range(1, 1000):
            time.sleep((0.002, 0.005)[index])
            if joined[index].agree_to_stop(index == 1 and step >= asked_at):
                return step
        return None

    found = together(train)
    assert found[0] == found[1]
    assert asked_at <= found[0] < 500


def test_the_host_and_field_that_differ_are_named(joined):
    facts = {"config.seed": 1, "config.dtype": "float32"}, {"config.seed": 1}

    def check(index):
        if index:
            return joined[1].gather("facts", facts[1])
        with pytest.raises(
            PromptError,
            match=r"^host 1 \(.+\) differs from host 0 \(.+\) in config.dtype: None there, "
            "'float32' here; do this$",
        ):
            hosts.check_same(facts[0], "do this")
        return None

    assert together(check)[1]


def test_a_single_process_is_the_first_host():
    assert (hosts.index(), hosts.count(), hosts.is_first()) == (0, 1, True)
    assert hosts.gather("x", 3) == [3]
    assert hosts.from_first("x", lambda: 4) == 4
    assert hosts.agree_to_stop(True)
    assert not hosts.agree_to_stop(False)
    hosts.check_same({"a": 1}, "")
    hosts.finish()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("", 2, None), "^--coordinator, --process_id missing: .* give all three, or only"),
        (("10.0.0.1", 2, 0), "^--coordinator=10.0.0.1 must be HOST:PORT, e.g. 10.0.0.1:8476$"),
        (("node:99999", 2, 0), "^--coordinator=node:99999 must be HOST:PORT"),
        (("node:1", 0, 0), "^--num_processes=0 must be at least 1$"),
        (("node:1", 2, 2), "^--process_id=2 must be from 0 to 1$"),
    ],
)
def test_wrong_flags_are_explained(given, message):
    with pytest.raises(PromptError, match=message):
        connecting.connect(*given)


def test_without_a_scheduler_the_flags_are_required(monkeypatch):
    output = connecting._explain(ValueError("coordinator_address should be defined."), "", "")
    assert output.startswith("--distributed: found no Slurm, Open MPI, GKE or TPU pod")


def test_groups_of_mixed_videos_belong_to_one_host(monkeypatch, tmp_path):
    monkeypatch.setattr(hosts, "count", lambda: 3)
    config = tiny.small_config("coop", tmp_path)
    config.data.mix, config.batch_size = True, 8
    with pytest.raises(PromptError, match="^config.batch_size=8 and .* need a multiple of 12$"):
        agreement.check_config(read(config))


def test_a_run_directory_on_one_host_only_is_rejected(joined, monkeypatch, tmp_path):
    monkeypatch.setattr(agreement, "SECONDS_TO_SHOW", 0.0)

    def check(index):
        if index:
            joined[1].gather("token", None, only_first=True)
            return joined[1].gather("token seen", False)
        with pytest.raises(PromptError, match=r"not the same directory on host 1 \(.+\) and host"):
            agreement.check_directory(tmp_path)
        return None

    assert together(check)[1] == [True, False]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("owners", "share"),
    [
        ([[1], [1], [0], [0]], (1, 2)),
        ([[0, 0], [1, 1]], (0, 2)),
        ([[0, 1], [0, 1]], (0, 1)),  # both hosts read whole batches
        ([[0], [1], [0], [1]], None),
        ([[0], [0], [0], [1]], None),
    ],
)
def test_a_host_reads_the_part_of_its_devices(monkeypatch, owners, share):
    monkeypatch.setattr(hosts, "count", lambda: 2)
    placement = Placement.__new__(Placement)
    devices = [[SimpleNamespace(process_index=owner) for owner in row] for row in owners]
    placement.mesh = SimpleNamespace(devices=np.array(devices))
    placement.data, placement.model = len(owners), len(owners[0])
    if share is None:
        with pytest.raises(
            PromptError, match="^the mesh data:4,model:1 does not give each host an equal part"
        ):
            _ = placement.share
    else:
        assert placement.share == share


def test_the_hosts_of_a_run_read_different_images(tmp_path):
    dataset = datasets.load("caltech101", tiny.save_caltech101(tmp_path))
    config = read(tiny.small_config("coop", tmp_path))
    features = np.arange(12, dtype=np.float32).reshape(1, 12, 1)
    whole, *parts = (
        make_batches(config, 32, "images", share=share) for share in ((0, 1), (0, 2), (1, 2))
    )

    def first(batches):
        """The first batches for training, with cached features, of views and for testing."""
        labels = np.arange(12, dtype=np.int32)
        made = batches.train(dataset), batches.features(features, labels)
        made += batches.views(dataset, 2), batches.test(dataset, dataset.test)
        return [next(iter(each)) for each in made]

    for batch, *halves in zip(*map(first, (whole, *parts)), strict=True):
        for key, array in batch.items():
            assert len(halves[0][key]) == len(array) // 2
            np.testing.assert_array_equal(np.concatenate([half[key] for half in halves]), array)
