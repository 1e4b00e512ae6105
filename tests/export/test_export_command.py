"""The export command: output, errors, ONNX and StableHLO run in other processes."""

import json

import exported
import numpy as np
import pytest
import tiny
from exported import export
from reference import largest_difference

from prompt_jax.cli import commands
from prompt_jax.export import __main__ as command
from prompt_jax.export import to_onnx, writing
from prompt_jax.inputs.images.preprocessing import CLIP
from prompt_jax.inputs.preparation import Inputs
from prompt_jax.models import saved

# Run with JAX only; arguments: a StableHLO program, a file of images, a file for their logits.
_PROGRAM = """
import sys, jax.export, numpy
program, images, logits = sys.argv[1:]
run = jax.export.deserialize(bytearray(open(program, "rb").read())).call
numpy.save(logits, run(numpy.load(images)))
assert "prompt_jax" not in sys.modules
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Returns a trained ProMPT with its backbone beside it."""
    model = exported.train("pro_mpt", vision_prompts=3, vision_depth=2)
    return exported.save_run(tmp_path_factory.mktemp("run"), model)


@pytest.mark.slow
def test_all_formats_give_the_logits_of_the_model(run, tmp_path, torch):
    images = exported.read_images(exported.save_images(tmp_path / "images", 7))
    output = tmp_path / "new" / "export"
    words = [str(run), f"--output={output}", f"--backbone={run / 'clip'}"]
    forms = ["--onnx", "--stablehlo", "--with-backbone"]
    process = tiny.command("-W", "error", "-m", "prompt_jax.export", *words, *forms)
    printed, errors = process.communicate()
    assert process.returncode == 0, errors
    assert printed.count("\n") == 4 and "model.onnx, model.py, model.stablehlo" in printed
    expected = np.asarray(exported.logits_of(saved.read(run), images))[-1]

    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(output / "model.onnx")
    reported = session.get_modelmeta().custom_metadata_map
    assert Inputs(**json.loads(reported["inputs"])).preprocessing == CLIP
    batch = np.asarray(images).transpose(0, 3, 1, 2)
    assert largest_difference(session.run(["logits"], {"images": batch})[0], expected) <= 1e-4

    np.save(tmp_path / "pictures.npy", images)
    files = [output / "model.stablehlo", tmp_path / "pictures.npy", tmp_path / "logits.npy"]
    process = tiny.command("-c", _PROGRAM, *map(str, files))
    errors = process.communicate()[1]
    assert process.returncode == 0, errors
    assert largest_difference(np.load(files[-1]), expected) <= 1e-4

    image = sorted((tmp_path / "images").iterdir())[0]
    process = tiny.command(str(output / "model.py"), str(image), "--top-k", "1")
    printed, errors = process.communicate()
    assert process.returncode == 0, errors
    best = exported.CLASSES[int(expected[0].argmax())]
    assert printed.startswith(f"{image}: {best} ")


def test_only_an_earlier_export_is_replaced(run, tmp_path, capsys):
    output = tmp_path / "export"
    assert export(run, output, "--with-backbone") == 0
    assert capsys.readouterr().out.startswith(f"wrote {output}: clip, config.json, model.py, ")
    assert export(run, output) == 0
    assert capsys.readouterr().out.startswith(f"replaced {output}: config.json, model.py, ")
    assert not (output / "clip").exists()
    (output / "notes.txt").touch()
    before = {path: path.read_bytes() for path in output.iterdir()}
    assert export(run, output) == 2
    assert "holds notes.txt, not written by an export" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in output.iterdir()} == before


@pytest.mark.parametrize(
    ("there", "message"),
    [
        ({"config.json": "{}"}, "holds config.json, not written by an export"),
        ({"model.py": "mine"}, "holds model.py, not written by an export"),
        (None, "is a file; name a new directory"),
    ],
)
def test_other_directories_are_not_replaced(run, tmp_path, capsys, there, message):
    output = tmp_path / "export"
    if there is None:
        output.touch()
    else:
        output.mkdir()
        for name, content in there.items():
            (output / name).write_text(content)
    assert export(run, output) == 2
    assert message in capsys.readouterr().err


def test_the_run_directory_itself_is_rejected(run, capsys):
    assert export(run, run) == 2
    assert "model.json" in capsys.readouterr().err
    assert saved.is_saved(run)


def test_another_backbone_is_rejected(run, tmp_path, capsys):
    other = tiny.save_clip(tmp_path / "other")
    words = [str(run), "--output", str(tmp_path / "export"), "--backbone", str(other)]
    assert commands.explain(command.start, words) == 2
    assert "was trained on another backbone" in capsys.readouterr().err
    assert not (tmp_path / "export").exists()


def test_a_method_without_pytorch_code_is_rejected(run):
    model = saved.read(run)
    own = saved.Saved(**{**model.__dict__, "method": "residual"})
    with pytest.raises(writing.PromptError, match="method 'residual' for images has no PyTorch"):
        writing.find_part(own)


def test_missing_packages_are_named_before_anything_is_written(
    run, tmp_path, capsys, monkeypatch, torch
):
    monkeypatch.setattr(to_onnx, "_PACKAGES", ("torch", "no_such_package"))
    assert export(run, tmp_path / "export", "--onnx") == 2
    assert "no_such_package: .venv/bin/pip install -e '.[onnx]'" in capsys.readouterr().err
    assert not (tmp_path / "export").exists()


def test_token_ids_are_those_of_the_class_texts(run):
    config = json.loads(json.dumps(writing.describe(saved.read(run), exported.FROZEN)))
    assert set(config["tokens"]) == {"{}.", "a photo of a {}."}
    assert config["tokens"]["{}."][1] == [49406, 2102, 4558, 269, 49407]  # "sea horse."
    assert config["class_names"] == list(exported.CLASSES)


def test_a_model_with_nan_logits_is_rejected_here_and_by_model_py(run, tmp_path, capsys, torch):
    model = saved.read(run)
    vast = dict(model.prompts)
    vast["context"] = np.full_like(model.prompts["context"], 3e38)
    model = saved.Saved(**{**model.__dict__, "prompts": vast})
    folder = exported.save_run(tmp_path / "vast", model)
    assert export(folder, tmp_path / "export") == 2
    assert "the logits of #0 are NaN or infinite" in capsys.readouterr().err
    assert not (tmp_path / "export").exists()
    # A directory written by an earlier version.
    (tmp_path / "export").mkdir()
    writing.write(tmp_path / "export", model, exported.FROZEN, with_backbone=True)
    image = sorted(exported.save_images(tmp_path / "images", 1).iterdir())[0]
    process = tiny.command(str(tmp_path / "export" / "model.py"), str(image))
    printed, errors = process.communicate()
    assert process.returncode == 2 and not printed
    assert "the logits are NaN or infinite" in errors
    process = tiny.command(str(tmp_path / "export" / "model.py"), str(image), "--top-k=0")
    assert process.wait() == 2 and "top_k=0 must be a whole number" in process.communicate()[1]
