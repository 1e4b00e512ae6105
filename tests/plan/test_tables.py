"""The tables of docs/machines.md."""

import dataclasses
from pathlib import Path

import pytest

from experiments.plan import tables, targets
from experiments.plan.compiling import Compiled
from experiments.plan.costs import Costs
from prompt_jax.errors import PromptError

ROWS = [row for rows in tables.TABLES.values() for row in rows]
COMPILED = Compiled(
    {"weights": 2**29, "classes": 0, "prompts": 4096, "optimizer": 4096, "batch": 2**20},
    2**30,
    *(16.4, 1.0, 32),
    Costs(),
)


@pytest.fixture
def compiled():
    costs = Costs(bytes=819e7)
    costs.flops["bf16"] = int(197e10)
    costs.collectives["all-reduce", 8] = 2**20
    return dataclasses.replace(COMPILED, costs=costs)


def test_every_row_is_a_run():
    assert len(set(ROWS)) == len(ROWS)
    for row in ROWS:
        config = row.question.config
        target = targets.parse(row.target)
        assert config.method == row.method and config.dtype == row.dtype
        data = int(row.mesh.split(",")[0].removeprefix("data:") or target.devices)
        assert row.batch % data == 0


def test_the_figures_of_a_plan_become_a_row(compiled):
    row = tables.Row("coop", "v5e-8", search=True)
    found = tables.figures(compiled, targets.parse("v5e-8"))
    found["largest"] = {"batch": "500 (560 does not fit)", "classes": "20,000 or more"}
    [_, _, line] = tables.lines([row], {row.key: found})
    assert line == (
        "| `coop`, ViT-B/16, bfloat16 | 8 × TPU v5e | 100 | 32 | 1.50 GiB of 15.75 GiB | "
        "1.00 GiB | all-reduce 1.00 MiB | 10.0 ms, 3,197 images/s | "
        "16 s | 500 (560 does not fit) | 20,000 or more |"
    )


def test_a_plan_that_does_not_fit_or_failed_is_reported(compiled):
    row = tables.Row("coop", "v5e-8")
    large = dataclasses.replace(compiled, temporaries=2**35)
    found = tables.figures(large, targets.parse("v5e-8"))
    assert (
        "**does not fit**: 32.50 GiB of 15.75 GiB" in list(tables.lines([row], {row.key: found}))[2]
    )
    failed = {row.key: {"failed": "stopped after 1800 s"}}
    assert "stopped after 1800 s" in list(tables.lines([row], failed))[2]
    assert not list(tables.lines([row], {}))


def test_tables_are_replaced_in_the_page(tmp_path, compiled):
    page = tmp_path / "machines.md"
    page.write_text(Path(tables.PAGE).read_text())
    found = tables.figures(compiled, targets.parse("v5e-8"))
    tables.write_page(page, dict.fromkeys((row.key for row in ROWS), found))
    written = page.read_text()
    assert written.count("| 16 s |") == len(ROWS)
    tables.write_page(page, {})
    assert "| 16 s |" not in page.read_text()
    page.write_text("# Machines\n")
    with pytest.raises(PromptError, match="has no <!-- table: machines -->"):
        tables.write_page(page, {})
