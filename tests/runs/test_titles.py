"""Titles of a user's own data sets, one or several in a sweep."""

import json

import pytest
import tiny
from test_overview import save_folders

from experiments import results
from experiments.config.config import read
from experiments.record import identity
from experiments.run import experiment, reopening, sweep
from experiments.setup import building, plans
from prompt_jax.errors import PromptError


def config_of(tmp_path, protocol="few_shot", **data):
    config = tiny.small_config("zero_shot", tiny.save_clip(tmp_path / "clip"))
    config.protocol = protocol
    usual = {"name": "folder", "num_classes": 0, "test_per_class": 0, "shots": 1}
    config.data.update({**usual, **data})
    return config


def test_several_titled_data_sets_are_one_sweep_with_tables_by_title(tmp_path, capsys):
    for name in ("birds", "cars"):
        save_folders(tmp_path / name, train={"a": 2, "b": 2}, test={"a": 1, "b": 1})
    config = config_of(tmp_path, title=f"birds={tmp_path}/birds, cars={tmp_path}/cars")
    assert sweep.is_sweep(read(config))
    found = sweep.run(config, tmp_path / "out")
    assert [one["dataset"] for one in found] == ["birds", "cars"]
    folders = [path.parent for path in sorted((tmp_path / "out").rglob("results.json"))]
    assert [str(path.relative_to(tmp_path / "out")) for path in folders] == [
        f"{name}/zero_shot/few_shot-1shots-seed1" for name in ("birds", "cars")
    ]
    output = capsys.readouterr().out
    assert "test (birds): a, b" in output and "test (cars): a, b" in output
    results.report(tmp_path / "out")
    table = (tmp_path / "out/tables/few_shot.md").read_text()
    assert "birds" in table and "cars" in table and "folder" not in table
    assert reopening.reopen(folders[0]).plan.title == "birds"


def test_a_title_applies_to_tested_domains(tmp_path):
    for domain in ("photo", "sketch"):
        save_folders(tmp_path / "own" / domain, train={"a": 2, "b": 2}, test={"a": 1, "b": 1})
    data = {"root": str(tmp_path / "own"), "domain": "photo", "names": "folder:sketch"}
    config = config_of(tmp_path, "domain_generalization", title="birds", **data)
    plan = plans.build(read(config), 32, False)
    assert plan.title == "birds:photo" and list(plan.tests) == ["birds:photo", "birds:sketch"]
    found = experiment.run(config, tmp_path / "run")
    assert list(found["accuracy"]) == ["birds:photo", "birds:sketch"]
    [folder] = sweep.expand(config)
    assert folder == "birds_photo/zero_shot/domain_generalization-1shots-seed1"


def test_a_run_without_titles_is_the_same_run(tmp_path):
    root = save_folders(tmp_path / "own", train={"a": 2, "b": 2}, test={"a": 1, "b": 1})
    config = config_of(tmp_path, root=str(root))
    before = experiment.run(config, tmp_path / "run")
    assert before["dataset"] == "folder"
    written = json.loads((tmp_path / "run/results.json").read_text())["config"]
    del written["data"]["title"]
    assert not identity.differences(identity.as_json(config), written)
    assert identity.figure_fields(written) == identity.figure_fields(identity.as_json(config))
    config.data.title = "birds"
    with pytest.raises(PromptError, match="holds another run .data.title: 'birds' here, '' there"):
        experiment.run(config, tmp_path / "run")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"title": "dtd"}, "title=dtd is reserved; choose another"),
        ({"title": "base"}, "title=base is reserved"),
        ({"title": "a/b"}, "title='a/b' must be a plain directory name"),
        ({"title": "../x"}, "must be a plain directory name"),
        ({"title": "a:b"}, "must be a plain directory name"),
        ({"title": "x\x1b"}, "must be a plain directory name"),
        (
            {"title": "birds", "name": "dtd"},
            "dtd is a published .* your own data: folder, csv,",
        ),
        ({"title": "birds", "name": "emoji_scenes"}, "emoji_scenes is a published data set"),
        ({"title": "a=/a,b"}, "'b' is not TITLE=ROOT, as in"),
        ({"title": "a=/a,=/b"}, "'=/b' is not TITLE=ROOT"),
        ({"title": "a=/a,a=/b"}, "has 'a' twice; give each data set a different title"),
        ({"title": "a=/a", "root": "/c"}, "are both set; omit config.data.root"),
    ],
)
def test_reserved_titles_are_rejected(tmp_path, data, message):
    with pytest.raises(PromptError, match=message):
        for one in sweep.expand(config_of(tmp_path, **data)).values():
            building.check(one)
