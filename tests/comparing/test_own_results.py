"""Tables of own data: titles of backbones, and means over classes of different sizes."""

import numpy as np
import pytest

from experiments import results
from prompt_jax.evaluation.evaluate import Accuracy
from prompt_jax.storage.local_paths import shorten_path, shorten_root
from tests.helpers.files.run_files import change_results, write_classification_run


@pytest.mark.parametrize(
    ("backbone", "expected"),
    [
        ("ViT-B/16", "ViT-B/16"),
        ("openai/clip-vit-base-patch16", "openai/clip-vit-base-patch16"),
        ("/home/me/models/ViT-B-16.pt", "ViT-B-16.pt"),
        ("/data/clip/", "clip"),
        ("~/clip/mine", "mine"),
        ("../clip", "clip"),
        ("C:\\clip\\mine.pt", "mine.pt"),
        ("/", "/"),
    ],
)
def test_of_a_path_the_last_part_is_shown(backbone, expected):
    assert shorten_path(backbone) == expected


def test_a_root_in_a_note_is_its_name():
    note = "/data/my birds has no directories train and test; /data/my birds/a/1.jpg: empty"
    assert shorten_root(note, "/data/my birds/") == (
        "my birds has no directories train and test; my birds/a/1.jpg: empty"
    )
    assert shorten_root(note, "") == note and shorten_root("caltech", "caltech") == "caltech"


def test_the_mean_over_classes_counts_each_tested_class_equally():
    confusion = np.array([[8, 2, 0], [1, 1, 0], [0, 0, 0]])
    assert Accuracy([75.0], 12, 0.0, confusion, None).macro == pytest.approx(65.0)


def test_tables_show_titles_and_means_over_unequal_classes(tmp_path, capsys):
    folder = write_classification_run(tmp_path / "run")
    content = {
        "backbone": "/home/me/secret/clip-b16.pt",
        "macro_accuracy": {"test": 40.0},
        "zero_shot_macro_accuracy": {"test": 30.0},
        "class_accuracy": {
            "test": [{"examples": 3, "accuracy": 60.0}, {"examples": 1, "accuracy": 20.0}]
        },
    }
    change_results(folder, **content)
    results.report(tmp_path)
    text = "".join(path.read_text() for path in (tmp_path / "tables").glob("few_shot.*"))
    assert "clip-b16.pt" in text and "secret" not in text + capsys.readouterr().out
    assert "mean over classes" in text and "40.00" in text and "30.00" in text
    content["class_accuracy"]["test"][1]["examples"] = 3
    change_results(folder, **content)
    results.report(tmp_path)
    assert "mean over classes" not in (tmp_path / "tables/few_shot.md").read_text()
