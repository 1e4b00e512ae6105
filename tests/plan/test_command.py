"""The command `experiments.plan`, on CPU devices."""

import dataclasses

import pytest
import tiny

from experiments.config.config import Config
from experiments.plan import __main__ as command
from experiments.plan import report, targets
from experiments.plan.costs import Costs, estimate
from prompt_jax.errors import PromptError

COOP = "--config=experiments/configs/images/method.py:coop"


def run(*words: str) -> tuple[int, str, str]:
    process = tiny.command("-m", "experiments.plan", *words)
    output, error = process.communicate(timeout=300)
    return process.returncode, output, error


def test_a_plan_is_printed():
    code, output, _ = run(
        *("--target=cpu:4", "--mesh=data:2,model:2", COOP, "--classes=4", "--no-largest"),
        "--config.batch_size=8",
    )
    assert code == 0
    lines = output.splitlines()
    assert lines[0] == "coop, embedded, float32, 4 classes, batch 8 on 4 × CPU, data:2,model:2"
    assert [line.split(":")[0] for line in lines if not line.startswith(" ")][1:] == [
        "training step",
        "classes",
        "evaluation",
    ]
    assert "training step: fits: " in output and "weights 24.14 MiB" in output
    assert "all-reduce over 2 devices" in output
    assert "estimate" not in output.lower()  # the peak rate of a CPU is unknown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--target=cpu:4", COOP, "--classes=4", "--mesh=data:3"),
            "--mesh='data:3' is a mesh of 3 devices, and there are 4; use data:4 or",
        ),
        (
            ("--target=cpu:4", COOP, "--classes=4", "--config.batch_size=6"),
            "batch_size=6 is not divisible by 4 devices; use 4 or 8",
        ),
        (("--target=cpu:4", "--classes=4"), "--config=FILE is needed"),
    ],
)
def test_a_wrong_config_is_one_line(words, message):
    code, _, error = run(*words)
    assert code == 2
    last = [line for line in error.splitlines() if line.startswith("error: ")]
    assert len(last) == 1 and message in last[0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--target=v9"], "unknown target 'v9'"),
        (["--target=cpu", "--seconds=0"], "--seconds=0 must be above 0"),
    ],
)
def test_an_invalid_option_is_rejected(words, message):
    with pytest.raises(PromptError, match=message):
        command.main(words)


def test_the_number_of_classes_is_that_of_the_data_set():
    def of(name, **fields):
        data = dataclasses.replace(Config().data, name=name)
        return command.count_classes(Config(data=data, **fields))

    assert of("caltech101") == 50  # trained on half of the classes
    assert of("caltech101", protocol="few_shot") == 100
    assert of("imagenet", protocol="cross_dataset") == 1000
    assert of("msrvtt_9k", protocol="retrieval") == 0
    with pytest.raises(PromptError, match="of folder depends on the data.*--classes=…"):
        of("folder")


def test_the_first_of_several_runs_is_planned(capsys):
    config = Config(seeds=(3, 1), data=dataclasses.replace(Config().data, shots=4))
    one = command.choose_run(config)
    assert one.seed == 3 and not one.seeds
    printed = capsys.readouterr().out
    assert printed == "the first of 2 runs, emoji_scenes/pro_mpt/base_to_novel-4shots-seed3:\n"
    assert command.choose_run(one) == one and not capsys.readouterr().out


def test_the_estimate_is_the_slower_of_products_and_memory():
    costs = Costs(bytes=819e9)
    costs.flops.update({"bf16": int(2 * 197e12), "f32": int(197e12)})
    costs.collectives["all-reduce", 4] = int(200e9)
    found = estimate(costs, targets.parse("v5e"))
    assert found is not None
    assert found.products == pytest.approx(8.0) and found.memory == pytest.approx(1.0)
    assert found.collectives == pytest.approx(1.5) and found.bound == "products"
    assert found.seconds == pytest.approx(9.5)


@pytest.mark.parametrize(
    ("number", "words"), [(12, "12 B"), (2**20, "1.00 MiB"), (3 * 2**29, "1.50 GiB")]
)
def test_bytes_are_shown_in_units(number, words):
    assert report.size(number) == words
