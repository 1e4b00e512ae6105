"""Prepares images for model.onnx with NumPy and Pillow; config.json beside this file says how.

    images = np.stack([preprocess(Image.open("image.jpg"))])  # float32[1, 3, S, S]
    [logits] = session.run(["logits"], {"images": images})

    python preprocess.py image.jpg  # classes and probabilities, with onnxruntime

Written by prompt_jax; edit it freely.
"""

import json
import math
import pathlib
import sys

import numpy as np
from PIL import Image, ImageOps

HERE = pathlib.Path(__file__).parent
LONGEST = 256  # aspect ratio from which on only the middle of an image is used


def preprocess(image, inputs=None):
    """Returns an image as in training, float32[3, S, S]; `inputs` is that of config.json."""
    inputs = inputs or json.loads((HERE / "config.json").read_text(encoding="utf-8"))["inputs"]
    if inputs["crop"] != "clip":
        raise ValueError(f"frames with the crop {inputs['crop']!r} are prepared by model.py only")
    if image.mode.startswith(("I", "F")):
        raise ValueError(f"an image of mode {image.mode}: convert its grays to 8 bits")
    if inputs["upright"]:
        image = ImageOps.exif_transpose(image)
    size = inputs["image_size"]
    image = crop(resize(image.convert("RGB"), inputs), size, inputs["fill"], inputs["middle"])
    mean, std = (np.array(inputs[name], np.float32) for name in ("mean", "std"))
    return ((np.asarray(image, np.float32) / 255 - mean) / std).transpose(2, 0, 1)


def resize(image, inputs):
    """Returns the image with the side that `resize` names of `resize_to` pixels."""
    kind, side = inputs["resize"], inputs["resize_to"] or inputs["image_size"]
    if kind == "none":
        return image
    if kind == "shortest":
        wide = [min(each, LONGEST * min(image.size)) for each in image.size]
        left, top = ((full - part) // 2 for full, part in zip(image.size, wide, strict=True))
        image = image.crop((left, top, left + wide[0], top + wide[1]))
        sides = [int(side * each / min(image.size)) for each in image.size]
    elif kind == "longest":
        sides = [max(1, round(each / (max(image.size) / side))) for each in image.size]
    else:
        sides = [side, side]
    return image.resize(sides, Image.Resampling[inputs["interpolation"].upper()])


def crop(image, size, fill, middle):
    """Returns the middle `size` x `size` pixels, with gray margins if the image is smaller."""
    if min(image.size) < size:
        canvas = Image.new("RGB", [max(side, size) for side in image.size], (fill, fill, fill))
        odd = middle == "floored"
        left, top = (max(0, (size - side + odd) // 2) for side in image.size)
        canvas.paste(image, (left, top))
        image = canvas
    cut = math.floor if middle == "floored" else round
    left, top = (cut((side - size) / 2) for side in image.size)
    return image.crop((left, top, left + size, top + size))


def probabilities(logits, temperature):
    """Returns the probabilities of classes by their logits and the temperature of config.json."""
    shares = np.exp((logits - logits.max()) / temperature)
    return shares / shares.sum()


def main(paths):
    """Prints the likeliest classes of image files."""
    import onnxruntime

    config = json.loads((HERE / "config.json").read_text(encoding="utf-8"))
    names = config["class_names"]
    session = onnxruntime.InferenceSession(HERE / "model.onnx")
    [given] = session.get_inputs()
    if given.name != "images":
        raise SystemExit("model.onnx takes videos; prepare each frame by preprocess")
    for path in paths:
        image = preprocess(Image.open(path), config["inputs"])
        [[logits]] = session.run(["logits"], {"images": image[None]})
        if len(names) == 1:  # a probability of 100 % would say nothing
            print(f"{path}: {names[0]}, the only class; its logit is {logits[0]:.2f}")
            continue
        shares = probabilities(logits, config["temperature"])
        best = np.argsort(-logits)[:5]
        print(f"{path}: " + ", ".join(f"{names[k]} {shares[k]:.1%}" for k in best))


if __name__ == "__main__":
    main(sys.argv[1:])
