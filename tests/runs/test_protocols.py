"""Training and test data of each protocol, and configs of several runs."""

import json
from pathlib import Path

import pytest
import tiny
from PIL import Image

from data_pipelines.errors import DataError
from experiments import results
from experiments.config.config import read
from experiments.config.protocols import PROTOCOLS
from experiments.configs.images import protocol as protocol_config
from experiments.record import workdir
from experiments.run import experiment, reopening, sweep, testing
from experiments.setup import plans
from prompt_jax import methods
from prompt_jax.errors import PromptError
from prompt_jax.storage.files import seal

CLASSES = ("accordion", "garfield", "pagoda", "sea horse")


def plan(config, uses_validation=False):
    return plans.build(read(config), 32, uses_validation)


def scenes(protocol, **data):
    """Returns a config on scenes of four classes."""
    config = tiny.small_config("zero_shot", Path("embedded"))
    config.protocol = protocol
    config.data.update(data)
    return config


def test_base_to_novel_tests_each_half_among_its_own_classes():
    made = plan(scenes("base_to_novel"))
    assert list(made.tests) == ["base", "new"]
    assert made.train.class_names == made.tests["base"].class_names
    assert not set(made.tests["base"].class_names) & set(made.tests["new"].class_names)
    assert len(made.train.train) == 2 * 3 and made.train.val == ()


def test_few_shot_tests_all_classes():
    made = plan(scenes("few_shot"), uses_validation=True)
    assert list(made.tests) == ["test"]
    assert len(made.tests["test"].class_names) == 4
    assert len(made.train.train) == 4 * 3 and len(made.train.val) == 4 * 3


@pytest.mark.parametrize("protocol", ["cross_dataset", "domain_generalization"])
def test_transfer_tests_the_source_and_every_target_once(protocol):
    config = scenes(protocol, domain="plain", names="emoji_scenes:night, emoji_scenes:plain")
    made = plan(config)
    assert list(made.tests) == ["emoji_scenes:plain", "emoji_scenes:night"]
    night = made.tests["emoji_scenes:night"]
    assert all(example.image.startswith("night/") for example in night.test)
    assert night.class_names == made.train.class_names


def test_a_target_without_a_domain_does_not_get_the_source_s():
    made = plan(scenes("cross_dataset", domain="night", names="emoji_scenes"))
    assert list(made.tests) == ["emoji_scenes:night", "emoji_scenes"]
    styles = [one.test[0].image.split("/")[0] for one in made.tests.values()]
    assert styles == ["night", "plain"]


def save_domains(root: Path) -> Path:
    """Writes own images in two domains: photo with training images, drawing without."""
    for domain, splits in {"photo": ("train",), "drawing": ("test",)}.items():
        for split in splits:
            for number, name in enumerate(CLASSES):
                folder = root / domain / split / name
                folder.mkdir(parents=True)
                for i in range(2):
                    Image.new("RGB", (40, 32), (60 * number, 90 * i, 120)).save(folder / f"{i}.png")
    return root


def test_a_source_without_test_images_is_not_tested(tmp_path):
    config = scenes("domain_generalization", root=str(save_domains(tmp_path)), num_classes=0)
    config.data.update(name="folder", domain="photo", names="folder:drawing", test_per_class=0)
    assert list(plan(config).tests) == ["folder:drawing"]
    config.data.names = ""
    with pytest.raises(PromptError, match="config.data.names, which is empty, and folder:photo"):
        plan(config)


def test_classes_are_matched_by_name():
    known = ("cat", "dog", "owl")
    assert methods.index_trained(known, ("owl", "fox", "cat")) == [2, methods.UNSEEN, 0]
    repeated = ("missile", "missile")
    assert methods.index_trained(repeated, repeated) == [0, 1]


def test_a_sweep_has_a_run_for_every_combination():
    config = scenes("few_shot", names="dtd, emoji_scenes:night", shots_list=(1, 4))
    config.seeds = (1, 2)
    config.variants = (("A", (("learning_rate", 0.5),)), ("B", (("epochs", 9),)))
    config.epochs, config.epochs_by_shots = 0, ((1, 50), (2, 100))
    runs = sweep.expand(config)
    assert len(runs) == 2 * 2 * 2 * 2
    one = runs["emoji_scenes_night/zero_shot_A/few_shot-4shots-seed2"]
    assert (one.data.name, one.data.domain, one.data.names) == ("emoji_scenes", "night", "")
    assert (one.data.shots, one.seed, one.variant, one.learning_rate) == (4, 2, "A", 0.5)
    assert one.epochs == 100  # of the last entry, which has more shots than any other
    assert runs["dtd/zero_shot_A/few_shot-1shots-seed1"].epochs == 50
    assert runs["dtd/zero_shot_B/few_shot-1shots-seed1"].epochs == 9
    for run in runs.values():
        assert not sweep.is_sweep(run) and list(sweep.expand(run).values()) == [run]


def test_targets_do_not_make_a_sweep():
    config = scenes("cross_dataset", names="emoji_scenes:night")
    assert not sweep.is_sweep(read(config))
    assert [run.data.names for run in sweep.expand(config).values()] == ["emoji_scenes:night"]


def test_a_variant_of_an_unknown_field_is_rejected():
    config = scenes("few_shot")
    config.variants = (("N=1", (("settings.iteration", 1),)),)
    with pytest.raises(PromptError, match=r"config\.variants: 'N=1' cannot be applied"):
        sweep.expand(config)


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize("method", methods.METHODS)
def test_every_method_has_a_config_for_every_protocol(name, method):
    config = protocol_config.get_config(name, method)
    assert (config.protocol, config.method, tuple(config.seeds)) == (name, method, (1, 2, 3))
    methods.get(method).Settings(**config.settings.to_dict())


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("seeds", ("a",), r"config.seeds has 'a'; it must be whole numbers"),
        ("seeds", (1.5,), r"config.seeds has 1.5; it must be whole numbers"),
        ("epochs_by_shots", (1, 2), r"config.epochs_by_shots has 1; it must be pairs \(most shots"),
        ("variants", (3,), r"config.variants has 3; it must be \(label, \(\(field"),
        ("variants", (("a", ((1, 2),)),), r"config.variants has \('a', .* it must be"),
        ("learning_rates", ("x",), r"config.learning_rates has 'x'; it must be numbers"),
    ],
)
def test_invalid_lists_are_rejected(field, value, message):
    config = scenes("few_shot")
    config[field] = value
    with pytest.raises(PromptError, match=message):
        sweep.expand(config)


def test_conflicting_training_data_sets_are_rejected():
    config = scenes("few_shot", names="caltech101,dtd")
    config.data.name = "csv"
    several = "to train on caltech101,dtd, pass --config.data.name= --config.data.names=cal"
    with pytest.raises(
        PromptError, match=f"to train on csv, pass only --config.data.names=csv; {several}"
    ):
        sweep.expand(config)
    config.data.names = "folder"
    with pytest.raises(
        PromptError, match="to train on folder, pass only --config.data.name=folder"
    ):
        sweep.expand(config)


def test_a_config_of_an_unknown_method_is_rejected():
    with pytest.raises(PromptError, match=r"'mapel'.*Did you mean 'maple'"):
        protocol_config.get_config("few_shot", "mapel")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Returns the directory of the tiny CLIP."""
    return tiny.save_clip(tmp_path_factory.mktemp("clip"))


def coop(clip, protocol, **data):
    config = tiny.small_config("coop", clip, context_length=2)
    config.protocol = protocol
    config.data.update(data)
    return config


@pytest.mark.slow
def test_a_target_added_later_is_tested_without_training(clip, tmp_path, capsys):
    config = coop(clip, "domain_generalization", domain="plain", names="emoji_scenes:night")
    first = experiment.run(config, tmp_path)
    assert list(first["accuracy"]) == ["emoji_scenes:plain", "emoji_scenes:night"]
    lines = (tmp_path / "metrics.jsonl").read_text()
    config.data.names = "emoji_scenes:night,emoji_scenes:mosaic"
    second = experiment.run(config, tmp_path)
    assert (tmp_path / "metrics.jsonl").read_text() == lines
    assert second["accuracy"].items() >= first["accuracy"].items()
    assert list(second["accuracy"])[-1] == "emoji_scenes:mosaic"
    assert second["train_seconds"] == pytest.approx(first["train_seconds"], abs=2)
    capsys.readouterr()
    assert experiment.run(config, tmp_path) == second
    assert "already finished" in capsys.readouterr().out


@pytest.mark.slow
def test_targets_of_earlier_calls_are_kept(clip, tmp_path, capsys):
    for name, files in (("a", ("cat", "dog")), ("b", ("cat", "dog", "owl"))):
        (tmp_path / name).mkdir()
        save_csv(tmp_path / name / "list.csv", files)
    config = coop(clip, "cross_dataset", domain="plain", names="csv")
    config.data.root = str(tmp_path / "a")
    first = experiment.run(config, tmp_path / "run")
    config.data.names, config.data.root = "emoji_scenes:night", ""
    second = experiment.run(config, tmp_path / "run")
    for field in (second["data_hashes"]["tests"], second["data_hashes"]["sizes"]["tests"]):
        assert set(field) == {"emoji_scenes:plain", "csv", "emoji_scenes:night"}
    assert second["data_hashes"]["tests"]["csv"] == first["data_hashes"]["tests"]["csv"]
    config.data.names, config.data.root = "csv", str(tmp_path / "b")
    with pytest.raises(PromptError, match=r"run on other images .*\(pictures.*tests.csv"):
        experiment.run(config, tmp_path / "run")
    config.data.names, config.data.root = "emoji_scenes:sketch,dtd", "/nowhere"
    with pytest.raises(DataError, match="dtd: root /nowhere is not a directory"):
        experiment.run(config, tmp_path / "run")
    assert list(reopening.reopen(tmp_path / "run").plan.tests) == [
        "emoji_scenes:plain",
        "emoji_scenes:night",
    ]


@pytest.mark.slow
def test_a_stopped_evaluation_resumes_with_the_remaining_targets(clip, tmp_path, monkeypatch):
    config = coop(clip, "cross_dataset", domain="plain", names="emoji_scenes:night")
    tested = []

    def stopping(title, *rest):
        if "night" in title and not tested:
            tested.append(title)
            raise KeyboardInterrupt
        return original(title, *rest)

    original = testing.test_batches
    monkeypatch.setattr(testing, "test_batches", stopping)
    with pytest.raises(KeyboardInterrupt):
        experiment.run(config, tmp_path)
    there = json.loads((tmp_path / "evaluations.json").read_text())
    assert list(there) == ["emoji_scenes:plain", "digest"]
    there["emoji_scenes:plain"]["accuracy"] = 12.5  # would differ if it were tested again
    (tmp_path / "evaluations.json").write_text(json.dumps(seal(there)))
    found = experiment.run(config, tmp_path)
    assert found["accuracy"]["emoji_scenes:plain"] == 12.5
    assert set(found["accuracy"]) == {"emoji_scenes:plain", "emoji_scenes:night"}


@pytest.mark.slow
def test_a_sweep_runs_missing_runs_and_reports_failed_ones(clip, tmp_path, capsys):
    config = coop(clip, "few_shot", names="emoji_scenes:plain,emoji_scenes:nigth")
    config.seeds = (1, 2)
    with pytest.raises(sweep.SomeFailedError, match=r"2 of 4 runs failed.*\n.*nigth.*nigth.*: "):
        sweep.run(config, tmp_path)
    assert capsys.readouterr().out.count("Did you mean 'night'") == 1
    done = sorted(path.parent.name for path in tmp_path.rglob("results.json"))
    assert done == ["few_shot-3shots-seed1", "few_shot-3shots-seed2"]
    config.data.names = "emoji_scenes:plain"
    found = sweep.run(config, tmp_path)
    assert capsys.readouterr().out.count("already finished") == 2
    assert [one["seed"] for one in found] == [1, 2]
    tables, *_ = results.summarize(tmp_path)
    assert len(tables) == 1


def save_csv(path: Path, names: tuple[str, ...]) -> Path:
    """Writes own images, two per class, the first for training; always the same number."""
    rows = ["path,label,split"]
    for number, name in enumerate(names):
        for i, split in enumerate(("train", "test")):
            file = path.parent / f"{name}{i}.png"
            Image.new("RGB", (40, 32), (60 * number, 90 * i, 120)).save(file)
            rows.append(f"{file.name},{name},{split}")
    path.write_text("\n".join(rows))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("method", ["zero_shot", "coop"])
def test_other_images_with_the_same_name_are_another_run(clip, tmp_path, method):
    first = save_csv(tmp_path / "a.csv", ("cat", "dog"))
    second = save_csv(tmp_path / "b.csv", ("cow", "fox"))
    config = tiny.small_config(method, clip)
    config.protocol = "few_shot"
    config.data.update(name="csv", root=str(first), num_classes=0, test_per_class=0)
    found = experiment.run(config, tmp_path / "run")
    config.data.root = str(second)
    with pytest.raises(PromptError, match=r"holds a run on other images .*\(pictures\."):
        experiment.run(config, tmp_path / "run")
    for name in ("results.json", "evaluations.json"):
        (tmp_path / "run" / name).unlink()
    with pytest.raises(PromptError, match=r"holds a run on other images .*\(pictures\."):
        experiment.run(config, tmp_path / "run")
    assert experiment.run(config, tmp_path / "other")["data_hash"] != found["data_hash"]


def test_a_run_that_excluded_images_is_not_taken_for_a_complete_one(clip, tmp_path):
    root = save_csv(tmp_path / "a.csv", ("cat", "dog", "owl"))
    whole = (tmp_path / "owl0.png").read_bytes()
    (tmp_path / "owl0.png").write_bytes(b"no image")
    config = tiny.small_config("zero_shot", clip)
    config.protocol = "few_shot"
    config.data.update(name="csv", root=str(root), num_classes=0, test_per_class=0)
    config.data.on_bad_image = "skip"
    experiment.run(config, tmp_path / "run")
    (tmp_path / "owl0.png").write_bytes(whole)
    config.data.on_bad_image = "stop"
    with pytest.raises(PromptError, match="left out 1 unreadable images; delete it to run again"):
        experiment.run(config, tmp_path / "run")
    root.unlink()
    config.data.on_bad_image = "skip"
    # Compared by its config alone.
    assert experiment.run(config, tmp_path / "run")["skipped_pictures"]


def test_two_processes_do_not_share_a_directory(clip, tmp_path, monkeypatch):
    code = (
        "import pathlib, sys, time; from experiments.record import workdir; "
        "workdir.claim_workdir(pathlib.Path(sys.argv[1]), {}); print('mine', flush=True); "
        "time.sleep(60)"
    )
    other = tiny.command("-c", code, str(tmp_path))
    try:
        assert other.stdout is not None and other.stdout.readline() == "mine\n"
        with pytest.raises(PromptError, match="another process is running in .* --workdir$"):
            workdir.claim_workdir(tmp_path, {})
        monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "8")
        with pytest.raises(PromptError, match="or pass --distributed to train with all processes$"):
            workdir.claim_workdir(tmp_path, {})
    finally:
        other.kill()
        other.communicate()
    workdir.claim_workdir(tmp_path, {})
    workdir.release(tmp_path)
    assert not (tmp_path / "lock").exists()
