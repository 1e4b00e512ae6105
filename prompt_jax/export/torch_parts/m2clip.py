"""M²-CLIP: adapters that see neighboring frames and patches, and a linear head (AAAI 2024)."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prompt_jax.export.torch_parts.classifier import Prompts
from prompt_jax.export.torch_parts.clip import CLIP
from prompt_jax.export.torch_parts.encoders import Encoders


class TextBlock(nn.Module):
    """A transformer block with adapters in front of its sublayers."""

    def __init__(self, block: Any, arrays: Mapping[str, Tensor]):
        """Takes arrays of "before_mlp", and perhaps "before_attention"."""
        super().__init__()
        self.block = block
        self.adapters: Any = Prompts(arrays)

    def forward(self, x: Tensor) -> Tensor:
        """Maps tokens float[N, S, d] to float[N, S, d]."""
        x = self.adapt("before_attention", x)
        x = x + self.block.attn(self.block.ln_1(x))
        x = self.adapt("before_mlp", x)
        return x + self.block.mlp(self.block.ln_2(x))

    def adapt(self, place: str, x: Tensor) -> Tensor:
        """Adds the output of the adapter at a place, if there is one."""
        if not hasattr(self.adapters, place):
            return x
        layers = getattr(self.adapters, place)
        return x + linear(layers.up, F.gelu(linear(layers.down, x)))


def linear(layer: Any, x: Tensor) -> Tensor:
    """Applies a linear layer to float[..., in]."""
    return x @ layer.kernel + layer.bias


def convolve(layers: Any, x: Tensor) -> Tensor:
    """Applies "down", a depthwise convolution over the axes but the first and last, and "up"."""
    kernel = layers.conv.kernel.movedim(-1, 0)[:, None]
    hidden = linear(layers.down, x).movedim(-1, 1)
    run = F.conv1d if kernel.ndim == 3 else F.conv2d
    padding = [size // 2 for size in kernel.shape[2:]]
    y = run(hidden, kernel, layers.conv.bias, padding=padding, groups=len(kernel))
    return linear(layers.up, y.movedim(1, -1))


class M2CLIP(Encoders):
    """A CLIP with adapters over frames and patches."""

    def __init__(self, clip: CLIP, arrays: Mapping[str, Tensor], config: Mapping[str, Any]):
        """Takes the arguments of `Classifier`; the first axis of arrays is the layer."""
        text = {n.removeprefix("text."): a for n, a in arrays.items() if n.startswith("text.")}
        blocks, number = clip.transformer.resblocks, len(next(iter(text.values())))
        for layer in range(number):
            place = len(blocks) - number + layer
            each = {name: array[layer] for name, array in text.items()}
            blocks[place] = TextBlock(blocks[place], each)
        image = {n.removeprefix("image."): a for n, a in arrays.items() if n.startswith("image.")}
        others = {n: a for n, a in arrays.items() if not n.startswith(("text.", "image."))}
        layers = range(len(clip.visual.transformer.resblocks))
        own = [Prompts({name: array[layer] for name, array in image.items()}) for layer in layers]
        super().__init__(clip, others, config)
        self.adapters = nn.ModuleList(own)

    def has_class_data(self) -> bool:
        """Returns whether the linear head makes the prediction."""
        return bool(self.settings["prediction"] == "head")

    def prepare(self) -> None:
        """Computes the class features float[K, d].

        Raises:
            ValueError: the head does not know a class.
        """
        if self.has_class_data() and int(self.trained.min()) < 0:
            raise ValueError("the linear head only knows the classes that it was trained on")
        super().prepare()

    def scale(self) -> Tensor | float:
        """Returns the factor of cosines."""
        return 100.0

    def adapt(self, layers: Any, x: Tensor) -> Tensor:
        """Adds an adapter's output to tokens float[B, F, S, d_v] of all frames."""
        batch, frames, _, width = x.shape
        along = convolve(layers, x.transpose(1, 2).flatten(0, 1))
        out = x + along.unflatten(0, (batch, -1)).transpose(1, 2)
        patches = x[:, :, 1:]
        change = torch.cat([torch.zeros_like(patches[:, :1]), patches.diff(dim=1)], dim=1)
        side = round(change.shape[2] ** 0.5)
        grid = change.reshape(batch * frames, side, side, width)
        moved = convolve(layers.difference, grid).reshape(change.shape)
        return torch.cat([out[:, :, :1], out[:, :, 1:] + moved], dim=2)

    def class_tokens(self, videos: Tensor) -> Tensor:
        """Returns the class tokens of frames after the last layer, float[B, F, d_v]."""
        tower = self.clip.visual
        x = tower.embed(videos.flatten(0, 1)).unflatten(0, videos.shape[:2])
        for layer, adapters in enumerate(self.adapters):
            own: Any = adapters
            block: Any = tower.transformer.resblocks[layer]
            if hasattr(own, "before_attention"):
                x = self.adapt(own.before_attention, x)
            flat = x.flatten(0, 1)
            x = (flat + block.attn(block.ln_1(flat))).unflatten(0, videos.shape[:2])
            x = self.adapt(own.before_mlp, x)
            x = x + block.mlp(block.ln_2(x))
        return x[:, :, 0]

    def encode_videos(self, videos: Tensor) -> Tensor:
        """Returns features float[B, d] of videos float[B, F, 3, S, S], averaged over frames."""
        tokens = self.class_tokens(videos)
        features = self.clip.visual.head(tokens.flatten(0, 1)[:, None])
        features = features.unflatten(0, tokens.shape[:2])
        return self.pool(features + convolve(self.prompts.frames, features))

    def forward(self, videos: Tensor) -> Tensor:
        """Returns logits float[B, K] of videos float[B, F, 3, S, S]; see `Encoders.forward`."""
        if not (self.names and self.has_class_data()):
            return super().forward(videos)
        x = self.clip.visual.ln_post(self.class_tokens(videos).mean(dim=1))
        return linear(self.prompts.head, x)[:, self.trained]


load = M2CLIP.load
