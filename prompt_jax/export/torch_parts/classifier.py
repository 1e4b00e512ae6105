"""What all methods have in common: classes by their names, loading, predicting."""

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
    """What was trained: the array "meta_net.linear1.kernel" is `prompts.meta_net.linear1.kernel`.

    A "kernel" is float[in, out]: a layer is x @ kernel + bias.
    """

    def __init__(self, arrays: Mapping[str, Tensor]):
        super().__init__()
        groups: dict[str, dict[str, Tensor]] = {}
        for name, array in arrays.items():
            first, _, rest = name.partition(".")
            # PyTorch's exporters put names into code that they write, and run that.
            if not (first.isascii() and first.replace("_", "a").isalnum()):
                raise ValueError(f"prompts.safetensors: {name!r} is no name of an array")
            if rest:
                groups.setdefault(first, {})[rest] = array
            else:
                self.register_parameter(first, nn.Parameter(array, requires_grad=False))
        for name, group in groups.items():
            self.add_module(name, Prompts(group))


class Classifier(nn.Module):
    """Images against classes.

    A method computes what no image changes in `prepare`: as a rule the text features of the
    classes, which `forward` compares with what `encode` makes of an image.
    """

    trained: Tensor
    classes: Tensor

    def __init__(self, clip: CLIP, arrays: Mapping[str, Tensor], config: Mapping[str, Any]):
        """`arrays` are those of prompts.safetensors, `config` what config.json holds."""
        super().__init__()
        self.clip, self.config, self.settings = clip, config, config["settings"]
        self.prompts: Any = Prompts(arrays)
        self.names: list[str] = []
        self.tokenize: Any = None
        self.eval()
        if config["class_names"]:  # of captions there are none
            self.set_classes(config["class_names"])

    @classmethod
    def load(cls, folder: str | pathlib.Path, clip: Any) -> "Classifier":
        """The model in an exported folder, on the CPU in float32.

        Args:
            folder: holds config.json and prompts.safetensors.
            clip: the backbone that the prompts were trained on; see `read_weights`.

        Raises:
            ValueError: these are the weights of another CLIP, or a file is damaged.
        """
        folder = pathlib.Path(folder)
        config = read_config(folder / "config.json")
        arrays = read_arrays(folder / "prompts.safetensors", config["sha256"])
        state = read_weights(clip)
        for name, expected in config["weights"].items():
            found = float(state[name].double().abs().mean()) if name in state else None
            if found is None or abs(found - expected) > 1e-3 * expected:
                raise ValueError(
                    f"the prompts were trained on CLIP {config['backbone']!r}, and these weights "
                    f"are another's: the mean of |{name}| is {found}, not {expected}"
                )
        check_sizes(state, config["sizes"])
        try:
            return cls(CLIP(config["sizes"], state), arrays, config)
        # What is left: arrays and settings that are whole, and do not fit each other.
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError) as error:
            raise ValueError(
                f"{folder}: settings, arrays and weights do not fit each other ({error}); export "
                "the model again"
            ) from error

    def prepare(self) -> None:
        """Computes what no image changes."""
        raise NotImplementedError

    def encode(self, images: Tensor) -> Tensor:
        """Image features float[B, d] of normalised images float[B, 3, S, S]."""
        return normalize(self.clip.encode_image(images))

    def forward(self, images: Tensor) -> Tensor:
        """Logits float[B, K] of normalised images float[B, 3, S, S]."""
        return self.logits(self.encode(images), self.classes)

    def keeps_own(self) -> bool:
        """Whether it keeps something of its own for each class that it was trained on."""
        return False

    def iterations(self, images: Tensor) -> Tensor:
        """Logits of every iteration, float[1 + N, B, K]; most methods have but one answer."""
        return self(images)[None]

    @torch.no_grad()
    def set_classes(self, names: Sequence[str], tokenize: Any = None) -> None:
        """Tells other classes apart, from now on.

        A class that it was trained on is known again by its name, however that is spelled:
        "soccer_ball" is "Soccer ball". Of two classes of one name, the first is the first.

        Args:
            names: K class names.
            tokenize: makes token ids of texts that the model was not trained on: transformers'
                `CLIPTokenizer`, OpenAI's `clip.tokenize`, open_clip's, any function from a text to
                its ids with SOS and EOT, or what has `encode` from a text to its ids. It is given
                texts as they were in training: see `clean`.

        Raises:
            ValueError: there is no name or no tokenizer, a text is too long, or it is not known
                which class is meant.
        """
        if isinstance(names, str) or not names:
            raise ValueError(f"a list of at least one class name is needed, not {names!r}")
        if wrong := [name for name in names if not (isinstance(name, str) and words(spaced(name)))]:
            raise ValueError(f"{wrong[0]!r} is no name of a class")
        found = find(self.config["class_names"], names)
        if AMBIGUOUS in found and self.keeps_own():
            raise ValueError(
                f"class {names[found.index(AMBIGUOUS)]!r} can be any of several that the model was "
                "trained on; name all of them, in their order, or none"
            )
        before, buffers = (self.names, self.tokenize), dict(self._buffers)
        self.names, self.tokenize = list(names), tokenize
        # Which of the classes that it was trained on each class is.
        self.keep("trained", torch.tensor([max(number, UNSEEN) for number in found]))
        try:
            self.prepare()
        except Exception:
            self.names, self.tokenize = before
            self._buffers.clear()
            self._buffers.update(buffers)
            raise

    def keep(self, name: str, value: Tensor) -> None:
        """Puts a tensor where it moves with the model, as the attribute `name`."""
        device = self.clip.logit_scale.device
        self.register_buffer(name, value.to(device), persistent=False)

    def tokens(self, template: str, prompts: int = 0) -> Tensor:
        """Token ids int[K, L] of the template filled with every class's name, zeros behind EOT.

        Args:
            template: text with "{}" for the name.
            prompts: how many slots of the text tower something else takes.

        Raises:
            ValueError: a text is too long, or unknown and there is no tokenizer.
        """
        rows = self._rows(template)
        longest = max(rows, key=len)
        if len(longest) + prompts > self.clip.context_length:
            raise ValueError(
                f"the text of class {self.names[rows.index(longest)]!r} takes "
                f"{len(longest) + prompts} tokens, more than the text tower's "
                f"{self.clip.context_length}: shorten the name"
            )
        return self.pad(rows)

    def _rows(self, template: str) -> list[list[int]]:
        """Token ids of every class, from SOS to EOT."""
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
                f"the model was not trained on class {name!r}, whose token ids config.json does "
                "not have; give set_classes a tokenizer, e.g. transformers' CLIPTokenizer"
            )
        return encode(self.tokenize, fill(template, name))

    def pad(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Token ids int[N, L] of N texts, zeros behind EOT."""
        longest = max(map(len, rows))
        ids = [[*row, *[0] * (longest - len(row))] for row in rows]
        return torch.tensor(ids, device=self.clip.logit_scale.device)

    def logits(self, image_features: Tensor, text_features: Tensor) -> Tensor:
        """float[B, K] = cos/τ of normalised float[B, d] and float[K, d] or [B, K, d]."""
        return self.clip.logit_scale.exp() * (text_features @ image_features[..., None])[..., 0]

    def preprocess(self, image: Any) -> Tensor:
        """An image, or the path of one, as the model takes it, float32[3, S, S]."""
        inputs = self.config["inputs"]
        return preprocess(open_image(image, inputs["upright"]), inputs)

    @torch.no_grad()
    def predict(
        self, images: Iterable[Any], top_k: int = 5, batch_size: int = 32
    ) -> list[list[tuple[str, float]]]:
        """The likeliest classes of each image, best first, with their probabilities.

        They are probabilities among the classes: of one class alone it is 1, whatever is shown.

        Args:
            images: paths or PIL images.
            top_k: how many classes of each.
            batch_size: how many images are looked at together.

        Raises:
            ValueError: a number is below 1, an image cannot be read, or the model has no answer.
        """
        for name, number in (("top_k", top_k), ("batch_size", batch_size)):
            if number < 1:
                raise ValueError(f"{name}={number} must be a whole number, at least 1")
        images, answers, names = list(images), [], distinct(self.names)
        for start in range(0, len(images), batch_size):
            batch = [self.preprocess(one) for one in images[start : start + batch_size]]
            logits = self(torch.stack(batch).to(self.clip.logit_scale.device))
            if not logits.isfinite().all():
                raise ValueError(
                    "the logits are infinite or no numbers: the prompts or the backbone hold "
                    "numbers that are far too large, or no numbers"
                )
            best = logits.softmax(dim=-1).topk(min(top_k, len(self.names)))
            for row, indices in zip(best.values.tolist(), best.indices.tolist(), strict=True):
                answers.append([(names[k], p) for k, p in zip(indices, row, strict=True)])
        return answers


def encode(tokenize: Any, text: str) -> list[int]:
    """Token ids of a text, from SOS to EOT; it is cleaned before, as texts were in training."""
    cleaned = clean(text)
    if "<|startoftext|>" in cleaned or "<|endoftext|>" in cleaned:
        raise ValueError(f"{text!r} holds CLIP's own marker; remove it")
    if callable(tokenize):
        made = tokenize(cleaned)
        made = made["input_ids"] if isinstance(made, Mapping) else made
        ids = torch.as_tensor(made).flatten().tolist()
    else:
        made = tokenize.encode(cleaned)
        ids = list(getattr(made, "ids", made))  # those of `tokenizers` are in there
        ids = ids if ids[:1] == [SOS] else [SOS, *ids, EOT]
    if not ids or ids[0] != SOS or EOT not in ids:
        raise ValueError(f"the tokenizer gives {ids} for {text!r}, without CLIP's SOS and EOT")
    ids = ids[: ids.index(EOT) + 1]
    if max(ids) > EOT:
        raise ValueError(f"the tokenizer gives {ids} for {text!r}; CLIP's ids end with {EOT}")
    return ids


def main(load: Callable[..., Classifier]) -> None:
    """Prints what the images, or videos, of the command line show."""
    here = pathlib.Path(__file__).parent
    parser = argparse.ArgumentParser()
    parser.add_argument("images", nargs="+", metavar="PATH", help="images, or videos")
    parser.add_argument("--clip", default=here / "clip", help="weight file or folder of the CLIP")
    parser.add_argument("--top-k", type=int, default=5, help="how many classes of each image")
    parser.add_argument("--device", default="cpu", help="e.g. cuda")
    options = parser.parse_args()
    streams: tuple[Any, ...] = (sys.stdout, sys.stderr)
    for stream in streams:  # whatever the locale, names can be printed
        stream.reconfigure(errors="backslashreplace")
    try:
        model = load(here, options.clip).to(options.device)
        answers = model.predict(options.images, options.top_k)
    except (ValueError, OSError) as error:
        parser.exit(2, f"error: {_shown(str(error))}\n")
    for image, answer in zip(options.images, answers, strict=True):
        print(_shown(f"{image}: " + ", ".join(f"{name} {p:.1%}" for name, p in answer)))


def _shown(text: str) -> str:
    """One line that is safe to print: names may hold line breaks and a terminal's commands."""
    escaped = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return "".join(escaped)
