"""Rows of one table are labeled by differences in data and preprocessing."""

import pytest
from result_trees import only_table, put, read_csv, row

from experiments import results
from experiments.figures import wording

WAYS = ("t2v", "v2t")


def config(**changes):
    data = {"name": "caltech101", "frames": 12} | changes.pop("data", {})
    return {"epochs": 50, "dtype": "float32", "data": data, **changes}


def labels(folder):
    return {one.label: one.cells["caltech101", "base"].mean for one in only_table(folder).rows}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dtype": "bfloat16"}, ("dtype=float32", "dtype=bfloat16")),
        ({"activation": "gelu"}, ("activation=quick_gelu", "activation=gelu")),
        (
            {"data": {"ignore_rotation": True}},
            ("data.ignore_rotation=false", "data.ignore_rotation=true"),
        ),
        ({"data": {"frames": 1}}, ("data.frames=12", "data.frames=1")),
        ({"data": {"views": 4}}, ("data.views=0", "data.views=4")),
        ({"data": {"crop": "vifi"}}, ("data.crop=clip", "data.crop=vifi")),
    ],
)
def test_zero_shot_with_other_settings_is_an_additional_row(tmp_path, changes, words):
    usual = config(activation="quick_gelu", data={"ignore_rotation": False})
    other = usual | {key: one for key, one in changes.items() if key != "data"}
    other["data"] = usual["data"] | changes.get("data", {})
    put(tmp_path, config=usual)
    put(tmp_path, method="zero_shot", accuracy={"base": 45.0, "new": 45.0}, config=other)
    here, there = words
    assert labels(tmp_path) == {
        f"zero_shot ({here})": 70.0,
        f"zero_shot ({there})": 45.0,
        f"coop ({here})": 80.0,
    }


def test_other_preprocessing_is_another_zero_shot(tmp_path):
    put(tmp_path, config=config(), preprocessing={"mean": [0.5, 0.5, 0.5]})
    put(tmp_path, method="zero_shot", accuracy={"base": 45.0, "new": 45.0}, config=config())
    assert labels(tmp_path) == {
        "zero_shot (preprocessing.mean=[0.5, 0.5, 0.5])": 70.0,
        "zero_shot (preprocessing.mean=usual)": 45.0,
        "coop (preprocessing.mean=[0.5, 0.5, 0.5])": 80.0,
    }


def test_a_zero_shot_run_with_its_own_settings_is_labeled(tmp_path):
    put(tmp_path, config=config())
    own = config(settings={"pooling": "mean_then_norm", "renormalize_video": True})
    put(tmp_path, method="zero_shot", accuracy={"base": 45.0, "new": 45.0}, config=own)
    assert set(labels(tmp_path)) == {
        "zero_shot (settings.pooling=null)",
        "zero_shot (settings.pooling=mean_then_norm)",
        "coop",
    }


def test_settings_of_training_do_not_split_zero_shot(tmp_path):
    """Tests the random frame rule too, which applies only in training."""
    put(tmp_path, config=config(data={"augment": "vifi", "frame_rule": "segment", "flip": True}))
    plain = config(data={"augment": "none", "frame_rule": "even", "flip": False})
    put(tmp_path, method="zero_shot", accuracy={"base": 71.0, "new": 71.0}, config=plain)
    assert labels(tmp_path) == {"zero_shot": 71.0, "coop": 80.0}


def test_methods_on_other_frames_are_labeled(tmp_path):
    for method, frames in (("vop", 12), ("vop_p", 8)):
        put(tmp_path, method=method, zero_shot={}, config=config(data={"frames": frames}))
    assert set(labels(tmp_path)) == {"vop (data.frames=12)", "vop_p (data.frames=8)"}


def test_retrieval_runs_on_other_frames_are_distinguished(tmp_path):
    """A run of zero-shot CLIP on one frame must not replace that on eight."""

    def ranks(value):
        metrics = {"R@1": value, "R@5": value, "R@10": value, "MnR": 9.0, "MdR": 9.0}
        return {"test": dict.fromkeys(WAYS, metrics)}

    for method, frames, own in (("vop_p", 8, 8.33), ("zero_shot", 1, 12.12)):
        put(
            tmp_path,
            method=method,
            protocol="retrieval",
            accuracy={"test": own},
            zero_shot={"test": 9.85},
            per_iteration={"test": [own]},
            ranks=ranks(own),
            zero_shot_ranks=ranks(9.85 if method == "vop_p" else own),
            config=config(data={"frames": frames}),
        )
    [table] = results.summarize(tmp_path).retrieval_tables
    assert {one.label: one.cells["test", "t2v R@1"].mean for one in table.rows} == {
        "zero_shot (data.frames=8)": 9.85,
        "zero_shot (data.frames=1)": 12.12,
        "vop_p (data.frames=8)": 8.33,
    }


def test_unequal_numbers_of_seeds_are_reported(tmp_path):
    for dataset, seeds in (("caltech101", 3), ("dtd", 2)):
        for seed in range(seeds):
            base = 80.0 + seed if dataset == "dtd" else 60.0 + 3 * seed
            put(tmp_path, dataset=dataset, seed=seed, accuracy={"base": base, "new": 50.0})
    table = only_table(tmp_path)
    cell = row(table, "coop").cells["average", "base"]
    assert (cell.mean, cell.seeds, cell.most_seeds) == (pytest.approx((63 + 80.5) / 2), 2, 3)
    assert cell.deviation is None
    message = [line for line in wording.remarks_on(table) if "numbers of seeds" in line]
    assert len(message) == 1
    results.write(tmp_path)
    text = (tmp_path / "tables/base_to_novel.md").read_text()
    [average] = [line for line in text.splitlines() if line.startswith("| coop")][:1]
    assert average.split("|")[2].strip() == "2 to 3"
    [line] = [
        one
        for one in read_csv(tmp_path / "tables/base_to_novel.csv")
        if (one["method"], one["dataset"], one["metric"]) == ("coop", "average", "base")
    ]
    assert (line["n_seeds"], line["n_seeds_most"]) == ("2", "3")
