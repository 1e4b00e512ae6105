"""The base class of all methods: loading, class names, prediction, and the command line."""

import argparse
import pathlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from prompt_jax.export.torch_parts.clip import CLIP, normalize
from prompt_jax.export.torch_parts.images import open_image, preprocess
from prompt_jax.export.torch_parts.names import (
    AMBIGUOUS,
    UNSEEN,
    distinct,
    fill,
    find,
    spaced,
    words,
)
from prompt_jax.export.torch_parts.reading import EOT, SOS, read_arrays, read_config
from prompt_jax.export.torch_parts.weights import check_sizes, read_weights
from prompt_jax.text.texts import clean


class Prompts(nn.Module):
    """The trained arrays: "meta_net.linear1.kernel" is `prompts.meta_net.linear1.kernel`.

    A "kernel" is float[in, out]: a layer computes x @ kernel + bias.
    """

    def __init__(self, arrays: Mapping[str, Tensor]):
        super().__init__()
        groups: dict[str, dict[str, Tensor]] = {}
        for name, array in arrays.items():
            first, _, rest = name.partition(".")
            # PyTorch's exporters put names into code that they write and run.
            if not (first.isascii() and first.replace("_", "a").isalnum()):
                raise ValueError(f"prompts.safetensors: {name!r} is not a valid array name")
            if rest:
                groups.setdefault(first, {})[rest] = array
            else:
                self.register_parameter(first, nn.Parameter(array, requires_grad=False))
        for name, group in groups.items():
            self.add_module(name, Prompts(group))


class Classifier(nn.Module):
    """A CLIP with trained prompts that classifies images.

    `prepare` computes everything that does not depend on images, usually the class features.
    `forward` compares them with the image features of `encode`.
    """

    new_classes = True  # whether it takes classes that it was not exported with
    trained: Tensor
    classes: Tensor

    def __init__(self, clip: CLIP, arrays: Mapping[str, Tensor], config: Mapping[str, Any]):
        """Takes a CLIP, the arrays of prompts.safetensors and the content of config.json."""
        super().__init__()
        self.clip, self.config, self.settings = clip, config, config["settings"]
        self.prompts: Any = Prompts(arrays)
        self.names: list[str] = []
        self.tokenize: Any = None
        self.eval()
        if config["class_names"]:  # empty after training on captions
            self.set_classes(config["class_names"])

    @classmethod
    def load(cls, folder: str | pathlib.Path, clip: Any) -> "Classifier":
        """Loads an exported model on the CPU in float32.

        Args:
            folder: directory with config.json and prompts.safetensors.
            clip: the backbone that the prompts were trained on; see `read_weights`.

        Raises:
            ValueError: the weights are those of another CLIP, or a file is damaged.
        """
        folder = pathlib.Path(folder)
        config = read_config(folder / "config.json")
        arrays = read_arrays(folder / "prompts.safetensors", config["sha256"])
        state = read_weights(clip)
        for name, expected in config["weights"].items():
            found = float(state[name].double().abs().mean()) if name in state else None
            if found is None or abs(found - expected) > 1e-3 * expected:
                raise ValueError(
                    f"the prompts were trained on the CLIP {config['backbone']!r}; these are "
                    f"other weights: the mean of |{name}| is {found}, not {expected}"
                )
        check_sizes(state, config["sizes"])
        try:
            return cls(CLIP(config["sizes"], state), arrays, config)
        # Remaining errors: arrays and settings that are valid but inconsistent.
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError) as error:
            raise ValueError(
                f"{folder}: settings, arrays and weights do not match ({error}); export the model "
                "again"
            ) from error

    def prepare(self) -> None:
        """Computes everything that does not depend on images."""
        raise NotImplementedError

    def encode(self, images: Tensor) -> Tensor:
        """Returns image features float[B, d] of normalized images float[B, 3, S, S]."""
        return normalize(self.clip.encode_image(images))

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits float[B, K] of normalized images float[B, 3, S, S]."""
        return self.logits(self.encode(images), self.classes)

    def has_class_data(self) -> bool:
        """Returns whether the model stores data for each class of the training."""
        return False

    def iterations(self, images: Tensor) -> Tensor:
        """Returns logits of every iteration, float[1 + N, B, K]; most methods have only one."""
        return self(images)[None]

    @torch.no_grad()
    def set_classes(self, names: Sequence[str], tokenize: Any = None) -> None:
        """Sets the classes to choose from.

        Names are matched with those of the training regardless of case and underscores:
        "soccer_ball" is "Soccer ball". Repeated names are matched in their order.

        Args:
            names: K class names.
            tokenize: tokenizer for class names that the model was not trained on: transformers'
                `CLIPTokenizer`, OpenAI's `clip.tokenize`, open_clip's, any function from a text to
                its ids with SOS and EOT, or an object with such an `encode`. Texts are first
                cleaned as in training, see `clean`.

        Raises:
            ValueError: there are no names, there is no tokenizer, a text is too long, or a name
                matches several classes of the training.
        """
        if isinstance(names, str) or not names:
            raise ValueError(f"names={names!r} must be a list of at least one class name")
        if wrong := [name for name in names if not (isinstance(name, str) and words(spaced(name)))]:
            raise ValueError(f"{wrong[0]!r} is not a class name")
        found = find(self.config["class_names"], names)
        if AMBIGUOUS in found and self.has_class_data():
            raise ValueError(
                f"class {names[found.index(AMBIGUOUS)]!r} matches several classes that the model "
                "was trained on; name all of them, in their order, or none"
            )
        before, buffers = (self.names, self.tokenize), dict(self._buffers)
        self.names, self.tokenize = list(names), tokenize
        # The index of each class among those of the training.
        self.keep("trained", torch.tensor([max(number, UNSEEN) for number in found]))
        try:
            self.prepare()
        except Exception:
            self.names, self.tokenize = before
            self._buffers.clear()
            self._buffers.update(buffers)
            raise

    def keep(self, name: str, value: Tensor) -> None:
        """Stores a tensor as the buffer `name`, on the model's device."""
        device = self.clip.logit_scale.device
        self.register_buffer(name, value.to(device), persistent=False)

    def tokens(self, template: str, prompts: int = 0) -> Tensor:
        """Returns token ids int[K, L] of the template filled with each class name, zero-padded.

        Args:
            template: text with "{}" for the name.
            prompts: number of text positions that prompts take.

        Raises:
            ValueError: a text is too long, or a name is new and there is no tokenizer.
        """
        rows = self._rows(template)
        longest = max(rows, key=len)
        if len(longest) + prompts > self.clip.context_length:
            raise ValueError(
                f"the text of class {self.names[rows.index(longest)]!r} takes "
                f"{len(longest) + prompts} tokens, more than the text tower's "
                f"{self.clip.context_length}; shorten the name"
            )
        return self.pad(rows)

    def _rows(self, template: str) -> list[list[int]]:
        """Returns token ids of every class, from SOS to EOT."""
        rows, trained = self.config["tokens"][template], self.config["class_names"]
        if self.names == list(trained):
            return list(rows)
        texts = (words(fill(template, name)) for name in trained)
        known = dict(zip(texts, rows, strict=True))
        return [
            known.get(words(fill(template, name))) or self._encode(template, name)
            for name in self.names
        ]

    def _encode(self, template: str, name: str) -> list[int]:
        if self.tokenize is None:
            raise ValueError(
                f"config.json has no token ids of class {name!r}, which the model was not trained "
                "on; pass set_classes a tokenizer, e.g. transformers' CLIPTokenizer"
            )
        return encode(self.tokenize, fill(template, name))

    def pad(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Returns token ids int[N, L] of N texts, padded with zeros."""
        longest = max(map(len, rows))
        ids = [[*row, *[0] * (longest - len(row))] for row in rows]
        return torch.tensor(ids, device=self.clip.logit_scale.device)

    def logits(self, image_features: Tensor, text_features: Tensor) -> Tensor:
        """Returns cos/τ, float[B, K], of normalized float[B, d] and float[K, d] or [B, K, d]."""
        return self.clip.logit_scale.exp() * (text_features @ image_features[..., None])[..., 0]

    def preprocess(self, image: Any) -> Tensor:
        """Returns an image, given as a PIL image or a path, as float32[3, S, S]."""
        inputs = self.config["inputs"]
        return preprocess(open_image(image, inputs["upright"]), inputs)

    @torch.no_grad()
    def predict(
        self, images: Iterable[Any], top_k: int = 5, batch_size: int = 32
    ) -> list[list[tuple[str, float]]]:
        """Returns the most likely classes of each image, best first, with their probabilities.

        Probabilities are a softmax over the classes, of logits divided by the temperature: with a
        single class, it is always 1.

        Args:
            images: paths or PIL images.
            top_k: classes per image.
            batch_size: images per forward pass.

        Raises:
            ValueError: a number is below 1, an image cannot be read, or logits are not finite.
        """
        for name, number in (("top_k", top_k), ("batch_size", batch_size)):
            if number < 1:
                raise ValueError(f"{name}={number} must be a whole number, at least 1")
        images, predictions, names = list(images), [], distinct(self.names)
        for start in range(0, len(images), batch_size):
            batch = [self.preprocess(one) for one in images[start : start + batch_size]]
            logits = self(torch.stack(batch).to(self.clip.logit_scale.device))
            if not logits.isfinite().all():
                raise ValueError(
                    "the logits are NaN or infinite: the prompts or the backbone hold values that "
                    "are too large or not finite"
                )
            shares = (logits / self.config["temperature"]).softmax(dim=-1)
            best = shares.topk(min(top_k, len(self.names)))
            for row, indices in zip(best.values.tolist(), best.indices.tolist(), strict=True):
                predictions.append([(names[k], p) for k, p in zip(indices, row, strict=True)])
        return predictions


def encode(tokenize: Any, text: str) -> list[int]:
    """Returns token ids of a text, from SOS to EOT, after cleaning it as in training.

    Raises:
        ValueError: the text holds a special token, or the tokenizer is not CLIP's.
    """
    cleaned = clean(text)
    if "<|startoftext|>" in cleaned or "<|endoftext|>" in cleaned:
        raise ValueError(f"{text!r} contains a special token of CLIP; remove it")
    if callable(tokenize):
        made = tokenize(cleaned)
        made = made["input_ids"] if isinstance(made, Mapping) else made
        ids = torch.as_tensor(made).flatten().tolist()
    else:
        made = tokenize.encode(cleaned)
        ids = list(getattr(made, "ids", made))  # an attribute in `tokenizers`
        ids = ids if ids[:1] == [SOS] else [SOS, *ids, EOT]
    if not ids or ids[0] != SOS or EOT not in ids:
        raise ValueError(f"the tokenizer gives {ids} for {text!r}, without CLIP's SOS or EOT")
    ids = ids[: ids.index(EOT) + 1]
    if max(ids) > EOT:
        raise ValueError(f"the tokenizer gives {ids} for {text!r}; CLIP's largest id is {EOT}")
    return ids


def main(load: Callable[..., Classifier]) -> None:
    """Predicts the classes of the images or videos on the command line, and prints them."""
    here = pathlib.Path(__file__).parent
    parser = argparse.ArgumentParser()
    parser.add_argument("images", nargs="+", metavar="PATH", help="images, or videos")
    parser.add_argument("--clip", default=here / "clip", help="CLIP's weight file or directory")
    parser.add_argument("--top-k", type=int, default=5, help="classes per image")
    parser.add_argument("--device", default="cpu", help="e.g. cuda")
    options = parser.parse_args()
    streams: tuple[Any, ...] = (sys.stdout, sys.stderr)
    for stream in streams:  # any name can be printed in any locale
        stream.reconfigure(errors="backslashreplace")
    try:
        model = load(here, options.clip).to(options.device)
        predictions = model.predict(options.images, options.top_k)
    except (ValueError, OSError) as error:
        parser.exit(2, f"error: {_shown(str(error))}\n")
    for image, prediction in zip(options.images, predictions, strict=True):
        print(_shown(f"{image}: " + ", ".join(f"{name} {p:.1%}" for name, p in prediction)))


def _shown(text: str) -> str:
    """Escapes text as one line: names may hold line breaks and terminal escape sequences."""
    escaped = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return "".join(escaped)
