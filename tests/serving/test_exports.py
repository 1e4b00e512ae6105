"""Exports without torch: preprocessing by NumPy and Pillow; and exports of methods of one's own."""

import dataclasses
import json
import sys
from types import SimpleNamespace

import exported
import jax
import numpy as np
import pytest
import tiny
from exported import export
from PIL import Image
from reference import largest_difference

from prompt_jax.errors import PromptError
from prompt_jax.export import onnx_inputs, source, to_onnx, writing
from prompt_jax.inputs import preparation
from prompt_jax.inputs.images.preprocessing import INTERPOLATIONS, Preprocessing
from prompt_jax.inputs.preparation import Inputs
from prompt_jax.methods import outside
from prompt_jax.models import saved

METHOD = "prompt_jax.methods.images.kgcoop:METHOD"
OWN = """
from prompt_jax.export.torch_parts.classifier import Classifier
from prompt_jax.export.torch_parts.clip import normalize


class Own(Classifier):
    def prepare(self):
        context = self.prompts.context
        features = self.clip.encode_text(self.tokens("{}."), context)
        self.keep("classes", normalize(features) * FACTOR)
"""
FIELDS = [
    {},
    {"resize": "longest", "fill": 7, "middle": "floored"},
    {"resize": "squash", "interpolation": "bilinear"},
    {"resize": "none", "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 1.0)},
    {"resize_to": 20, "middle": "floored"},
    *({"interpolation": one} for one in INTERPOLATIONS),
]


@pytest.mark.parametrize("fields", FIELDS)
def test_images_are_prepared_as_by_the_library(fields):
    inputs = Inputs.of(16, Preprocessing(**fields))
    given = json.loads(json.dumps(dataclasses.asdict(inputs)))
    rng = np.random.default_rng(0)
    for shape in ((16, 16), (40, 27), (9, 60), (3, 3), (1, 400)):
        image = Image.fromarray(rng.integers(0, 256, (*shape, 3), np.uint8))
        expected = np.zeros(inputs.shape, np.float32)
        preparation.prepare(image, inputs, expected)
        found = onnx_inputs.preprocess(image, given)
        np.testing.assert_array_equal(found, expected.transpose(2, 0, 1))
        assert found.dtype == np.float32


def test_images_that_are_not_prepared_are_named():
    inputs = dataclasses.asdict(Inputs.of(16))
    with pytest.raises(ValueError, match="mode I;16: convert its grays to 8 bits"):
        onnx_inputs.preprocess(Image.new("I;16", (9, 9)), inputs)
    with pytest.raises(ValueError, match=r"crop 'vifi' are prepared by model\.py only"):
        onnx_inputs.preprocess(Image.new("L", (9, 9)), {**inputs, "crop": "vifi"})


def test_a_single_class_has_no_probability(tmp_path, monkeypatch, capsys):
    config = {
        "class_names": ["cat"],
        "temperature": 1.0,
        "inputs": dataclasses.asdict(Inputs.of(16)),
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    session = SimpleNamespace(
        get_inputs=lambda: [SimpleNamespace(name="images")],
        run=lambda names, given: [np.float32([[2.5]])],
    )
    runtime = SimpleNamespace(InferenceSession=lambda path: session)
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
    monkeypatch.setattr(onnx_inputs, "HERE", tmp_path)
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    onnx_inputs.main([tmp_path / "a.png"])
    assert capsys.readouterr().out.endswith("a.png: cat, the only class; its logit is 2.50\n")


@pytest.mark.slow
def test_onnx_runs_without_torch(tmp_path, torch):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model = dataclasses.replace(exported.train("zero_shot"), temperature=2.5)
    run = exported.save_run(tmp_path / "run", model)
    images = exported.save_images(tmp_path / "images", 2)
    assert export(run, tmp_path / "out", "--onnx") == 0
    path = sorted(images.iterdir())[1]
    script = "import sys, runpy; sys.modules['torch'] = sys.modules['jax'] = None; "
    script += "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    process = tiny.command("-c", script, str(tmp_path / "out" / "preprocess.py"), str(path))
    printed, errors = process.communicate()
    assert process.returncode == 0, errors
    logits = np.asarray(exported.logits_of(saved.read(run), exported.read_images(images)))[-1, 1]
    best = exported.CLASSES[int(logits.argmax())]
    assert printed.startswith(f"{path}: {best} {jax.nn.softmax(logits / 2.5).max():.1%}, ")
    assert not printed.startswith(f"{path}: {best} {jax.nn.softmax(logits).max():.1%}, ")


def test_metadata_of_onnx_has_names_mean_and_std(tmp_path, monkeypatch):
    onnx = pytest.importorskip("onnx")
    graph = onnx.helper.make_graph([], "empty", [], [])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "model.onnx")
    model = exported.train("zero_shot")
    to_onnx.describe(tmp_path / "model.onnx", model)
    props = onnx.load(tmp_path / "model.onnx").metadata_props
    found = {one.key: json.loads(one.value) for one in props}
    assert found["mean"] == list(model.inputs.mean) and found["std"] == list(model.inputs.std)
    assert found["names"] == {str(n): name for n, name in enumerate(exported.CLASSES)}
    assert found["class_names"] == list(exported.CLASSES)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Returns a run of a method from outside; its PyTorch class is in my_torch.py."""
    outside.load(METHOD)
    model = dataclasses.replace(exported.train("kgcoop"), method=METHOD)
    (tmp_path / "my_torch.py").write_text(OWN.replace("FACTOR", "1"))
    (tmp_path / "wrong_torch.py").write_text(OWN.replace("FACTOR", "2"))
    (tmp_path / "jax_torch.py").write_text("import jax.numpy\n\nclass Own:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    source._own_file.cache_clear()
    return exported.save_run(tmp_path / "run", model)


def test_a_method_from_outside_is_exported_by_its_torch_class(own, tmp_path, capsys, torch):
    output = tmp_path / "out"
    assert export(own, output, "--torch-class=my_torch:Own") == 0
    images = exported.read_images(exported.save_images(tmp_path / "images", 3))
    code = (output / "model.py").read_text()
    assert "import prompt_jax" not in code and "from prompt_jax" not in code
    model = to_onnx.load(output, saved.read(own), exported.FROZEN, "my_torch:Own")
    found = model(torch.from_numpy(np.asarray(images).transpose(0, 3, 1, 2).copy()))
    same = dataclasses.replace(saved.read(own), method="kgcoop")
    assert largest_difference(found.detach(), exported.logits_of(same, images)[-1]) <= 1e-4
    for given, words in (
        (
            "wrong_torch:Own",
            "--torch-class wrong_torch:Own: its logits differ from the method's by",
        ),
        ("jax_torch:Own", "line 1: imports 'jax.numpy', which the export does not contain"),
        ("my_torch:Other", "unknown class of my_torch: 'Other'"),
        ("no_torch:Own", "there is no module 'no_torch' in the current directory"),
        ("my_torch", "--torch-class my_torch: write my_package.my_torch:CLASS"),
    ):
        assert export(own, tmp_path / "other", f"--torch-class={given}") == 2
        assert words in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_a_method_from_outside_is_exported_to_stablehlo_without_a_class(own, tmp_path, capsys):
    assert export(own, tmp_path / "out") == 2
    assert "has no PyTorch code: name a class of yours, --torch-class" in capsys.readouterr().err
    assert export(own, tmp_path / "out", "--stablehlo") == 0
    assert "model.stablehlo needs only JAX" in capsys.readouterr().out
    assert not (tmp_path / "out" / "model.py").exists()
    run = jax.export.deserialize(bytearray((tmp_path / "out/model.stablehlo").read_bytes())).call
    images = np.zeros((1, *saved.read(own).inputs.shape), np.float32)
    assert run(images).shape == (1, len(exported.CLASSES))
    assert export(own, tmp_path / "out", "--stablehlo") == 0  # an earlier export is replaced
    with pytest.raises(PromptError, match="has no PyTorch code"):
        writing.find_part(saved.read(own))
