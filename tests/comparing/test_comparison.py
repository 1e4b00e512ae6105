"""The comparison of all methods: its configs, and its table of methods."""

import pytest
from result_trees import put

from experiments import comparison
from experiments.configs.images import comparison as images
from experiments.run import sweep
from experiments.setup import building
from prompt_jax import methods


def test_every_method_has_its_protocols():
    configs = images.get_configs()
    found = {(config.protocol, config.method) for config in configs}
    for name, record in methods.RECORDS["images"].items():
        own = {protocol for protocol, method in found if method == name}
        if record.sees_in_training == "no labels":
            assert own == {"unlabeled"}
        else:
            assert own == {"base_to_novel", "few_shot", "domain_generalization"}


def test_all_runs_of_images_can_be_built():
    names = set()
    for config in images.get_configs():
        for one in sweep.expand(config).values():
            building.check(one)
            building.build_method(one)
            assert one.data.shots == (4 if one.protocol == "few_shot" else 16)
            names.add((one.protocol, one.method, one.seed))
    assert len(names) == 3 * len(images.get_configs())


def test_one_table_has_all_methods(tmp_path):
    halves = {"coop": ((80.0, 60.0), (90.0, 70.0)), "gda": ((70.0, 70.0),)}
    for method, seeds in halves.items():
        for seed, (base, new) in enumerate(seeds, 1):
            accuracy = {"base": base, "new": new}
            put(tmp_path, method=method, seed=seed, accuracy=accuracy, train_seconds=30.0)
    few = {"protocol": "few_shot", "zero_shot": {"test": 40.0}, "per_iteration": {}}
    for shots in (4, 16):
        accuracy = {"test": 50.0 + shots}
        put(tmp_path, method="gda", shots=shots, accuracy=accuracy, kind="images", **few)
    together = {"train_seconds": 90.0, "trained_together": 3, "trainable_parameters": 1234}
    few["protocol"] = "unlabeled"
    put(tmp_path, method="nola", shots=0, accuracy={"test": 55.0}, **few, **together)
    headers, rows = comparison.overview(tmp_path)
    assert headers[2:7] == ["base", "new", "H", "16 shots", "no labels"]
    assert [row[0] for row in rows] == ["coop", "gda", "nola"]
    coop, gda, nola = (dict(zip(headers, row, strict=True)) for row in rows)
    # 2 · 85 · 65 / 150, the H of the means, and the deviation of 68.57 and 78.75.
    assert coop["H"] == "73.67 ± 7.20" and coop["seeds"] == "2" and coop["16 shots"] == ""
    assert gda["16 shots"] == "66.00" and gda["H"] == "70.00" and gda["no labels"] == ""
    assert nola["no labels"] == "55.00" and nola["H"] == ""
    assert nola["training, s"] == "30" and nola["parameters"] == "1,234"
    assert coop["sees at test"] == "one image"
    page = comparison.write_page(tmp_path, 1.5).read_text(encoding="utf-8")
    assert "# All methods" in page and "| coop " in page


@pytest.mark.parametrize("task", comparison.TASKS)
def test_every_task_declares_its_protocols(task):
    declared = {*comparison.TASKS[task].PROTOCOLS, *comparison.TASKS[task].OPTIONAL_PROTOCOLS}
    assert declared == {config.protocol for config in comparison.TASKS[task].get_configs()}
