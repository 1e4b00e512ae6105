"""The identity of a run is stable, so that run directories of earlier versions are recognized."""

import pytest

from data_pipelines.examples import Dataset, Example
from experiments.record import identity
from prompt_jax.errors import PromptError


def part(*examples):
    return tuple(Example(*each) for each in examples)


@pytest.fixture
def images(tmp_path):
    """Returns the identity of files, of missing files, and of rendered images."""
    for number, name in enumerate(("a.jpg", "b.jpg", "c.jpg", "d.jpg"), 1):
        (tmp_path / name).write_bytes(b"x" * number)
    shots, val = part(("a.jpg", 0, "cat"), ("b.jpg", 1, "sea horse")), part(("c.jpg", 0, "cat"))
    test = part(("d.jpg", 1, "sea horse"), ("a.jpg", 0, "cat"))
    here = Dataset("folder", "a photo of a {}.", shots, val, test, open, tmp_path)
    gone = Dataset("csv", "a {}, drawn.", (), (), part(("gone.jpg", 0, "fox")), open, tmp_path)
    rendered = Dataset("emoji_scenes", "{}", (), (), part(("plain/1", 0, "\udcff")), open)
    return identity.of_images(here, {"test": here, "csv": gone, "emoji_scenes": rendered})


def test_images_have_the_hashes_of_earlier_versions(images):
    assert images == {
        "train": "9f8d3e309cf1214e",
        "tests": {
            "test": "403501b9721738b3",
            "csv": "728c06426d931cc2",
            "emoji_scenes": "b1f23ec3e9502b20",
        },
        "sizes": {
            "train": "a665a45920422f9d",
            "tests": {"test": "3d914f9348c9cc0f", "csv": None, "emoji_scenes": None},
        },
        "contents": {
            "train": "b67c48e8a08775b2",
            "tests": {"test": "7176f206c2125db8", "csv": None, "emoji_scenes": None},
        },
    }
    assert identity.of_test(images, "test") == "403501b9721738b3 3d914f9348c9cc0f 7176f206c2125db8"
    assert identity.of_test_before(images, "test") == "403501b9721738b3 3d914f9348c9cc0f"
    assert identity.of_test(images, "csv") == "728c06426d931cc2 None None"
    assert identity.of_tests(images) == "0d1678a0913a9bde"


CONFIG = {"method": "coop", "backbone": "clip", "seed": 1, "learning_rate": 0.1, "variant": ""}
CONFIG |= {"log_every": 5, "data": {"root": "/data", "names": "dtd", "shots": 4, "domain": ""}}


def test_a_run_is_identified_by_config_backbone_and_images():
    here = identity.identify(CONFIG, "0a1b", {"train": "2c"})
    assert here == CONFIG | {
        "backbone": {"source": "clip", "hash": "0a1b"},
        "pictures": {"train": "2c"},
        "init_from": "",
    }
    started = identity.identify(CONFIG, "0a1b", {"train": "2c"}, "89" * 32)
    assert identity.differences(here, started) == ["init_from: '' here, '8989898989898989' there"]
    earlier = {field: value for field, value in here.items() if field != "init_from"}
    assert not identity.differences(here, earlier)
    assert identity.of_several([here, here | {"seed": 2, "log_every": 7}]) == here | {
        "seed": [1, 2],
        "learning_rate": [0.1, 0.1],
        "variant": ["", ""],
        "pictures": [{"train": "2c"}, {"train": "2c"}],
    }


def test_runs_with_other_logging_or_plotting_fields_share_an_average():
    assert identity.figure_fields(CONFIG) == {"learning_rate": 0.1}


def test_results_whose_data_is_missing_are_compared_by_the_rest(tmp_path):
    config = CONFIG | {"data": CONFIG["data"] | {"on_bad_image": "stop"}}
    results = {
        "config": config,
        "backbone_hash": "0a1b",
        "data_hashes": {"train": "2c"},
        "skipped_pictures": [],
    }
    identity.refuse_other_results(tmp_path, identity.identify(config, "0a1b", None), results)
    other = identity.identify(config, "ffff", None)
    with pytest.raises(PromptError, match=r"another run \(backbone.hash: 'ffff' here, '0a1b' the"):
        identity.refuse_other_results(tmp_path, other, results)
    drawn_otherwise = identity.identify(config, "0a1b", {"train": "3d"})
    with pytest.raises(PromptError, match=r"other images .*\(pictures.train: '3d' here"):
        identity.refuse_other_results(tmp_path, drawn_otherwise, results)
