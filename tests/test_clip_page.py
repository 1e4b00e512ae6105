"""The code of docs/clip.md runs as printed."""

import re
from pathlib import Path

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from PIL import Image

PAGE = Path(__file__).parents[1] / "docs" / "clip.md"
(CODE,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_the_page_encodes_and_classifies(tmp_path, monkeypatch, capsys):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.jpg")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(CODE.replace("ViT-B/16", "embedded"), "clip.py", "exec"), names)
    assert "image.jpg" in capsys.readouterr().out
    model, images = names["model"], names["images"]
    found = names["similarity"](model.frozen, images, names["tokens"])
    seen = model.encode_images(["image.jpg"])
    said = model.encode_texts(["a photo of a cat", "a photo of a dog"])
    np.testing.assert_allclose(found, seen @ said.T, atol=1e-5)
    spread = jax.device_put(images, NamedSharding(model.clip.mesh, PartitionSpec("data")))
    encoded = jax.jit(model.clip.encode_image)(model.frozen, spread)
    np.testing.assert_allclose(encoded, model.clip.encode_image(model.frozen, images), atol=1e-5)
