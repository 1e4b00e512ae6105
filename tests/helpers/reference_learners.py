"""Prompt learners in PyTorch with the parameter names of the reference implementations.

They compute the same as CoOp's and MaPLe's public code on the benchmark's CLIP, and are saved like
by Dassl's trainers.
"""

import functools
from typing import Any, NamedTuple

import jax
import numpy as np
import torch
from torch import nn

from experiments.benchmark.counterparts.torch_clip import TorchCLIP
from experiments.benchmark.ours import jax_side
from prompt_jax.clip import CLIP, CLIPConfig, loading, saving, tokenizer
from prompt_jax.exchange.layouts import LAYOUTS
from prompt_jax.exchange.reading import Wanted
from prompt_jax.export.torch_parts.clip import normalize

SIZES = CLIPConfig(
    image_size=32, patch_size=16, image_width=48, image_layers=3, image_heads=2, image_mlp=64,
    text_width=40, text_layers=4, text_heads=2, text_mlp=64, embed_dim=32,
)  # fmt: skip
NAMES = ("sea_horse", "Pagoda", "St. Bernard (dog)", "A380")
PHOTO = "a photo of a"


class Learner(nn.Module):
    """The common part: a context, and buffers of the words around it."""

    def __init__(self, clip, context, words="", names=NAMES):
        super().__init__()
        names = [name.replace("_", " ") for name in names]
        self.number, self.length = len(names), context.shape[-2]
        # The placeholder can be any token; context vectors replace it.
        front = words or " ".join("X" * self.length)
        self.tokens = torch.tensor(tokenizer.tokenize([f"{front} {name}." for name in names]))
        self.name_lengths = [len(tokenizer.encode(name)) for name in names]
        embedded = clip.token_embedding(self.tokens)
        self.ctx = nn.Parameter(context)
        self.register_buffer("token_prefix", embedded[:, :1])
        self.register_buffer("token_suffix", embedded[:, 1 + self.length :])

    @property
    def eot(self):
        return self.tokens.argmax(dim=-1)


class CoOp(Learner):
    """CoOp with the name in any position; `context` may have a row per class."""

    def __init__(self, clip, context, position="end", **more):
        super().__init__(clip, context, **more)
        self.first = {"end": self.length, "middle": self.length // 2, "front": 0}[position]

    def logits(self, clip, images):
        rows = self.ctx.expand(self.number, *self.ctx.shape[-2:])
        prompts = [
            torch.cat([sos, row[: self.first], rest[:n], row[self.first :], rest[n:]])
            for sos, row, rest, n in zip(
                self.token_prefix, rows, self.token_suffix, self.name_lengths, strict=True
            )
        ]
        classes = normalize(clip.encode_embedded(torch.stack(prompts), self.eot))
        return clip.logit_scale.exp() * normalize(clip.encode_image(images)) @ classes.T


class CoCoOp(Learner):
    """CoCoOp: a small network shifts the context per image."""

    def __init__(self, clip, context, **more):
        super().__init__(clip, context, **more)
        self.meta_net = nn.Sequential()
        self.meta_net.add_module("linear1", nn.Linear(SIZES.embed_dim, SIZES.embed_dim // 16))
        self.meta_net.add_module("relu", nn.ReLU())
        self.meta_net.add_module("linear2", nn.Linear(SIZES.embed_dim // 16, SIZES.text_width))

    def logits(self, clip, images):
        rows = []
        for feature in normalize(clip.encode_image(images)):
            context = (self.ctx + self.meta_net(feature)).expand(self.number, -1, -1)
            prompts = torch.cat([self.token_prefix, context, self.token_suffix], dim=1)
            classes = normalize(clip.encode_embedded(prompts, self.eot))
            rows.append(clip.logit_scale.exp() * feature @ classes.T)
        return torch.stack(rows)


class MaPLe(Learner):
    """MaPLe: deep prompts of both towers; linear maps project text prompts to vision prompts."""

    def __init__(self, clip, context, depth=3, **more):
        super().__init__(clip, context, **more)
        widths = SIZES.text_width, SIZES.image_width
        self.proj = nn.Linear(*widths)
        compound = [nn.Parameter(0.1 * torch.randn_like(context)) for _ in range(depth - 1)]
        self.compound_prompts_text = nn.ParameterList(compound)
        projections = [nn.Linear(*widths) for _ in compound]
        self.compound_prompt_projections = nn.ModuleList(projections)

    def logits(self, clip, images):
        context = self.ctx.expand(self.number, -1, -1)
        prompts = torch.cat([self.token_prefix, context, self.token_suffix], dim=1)
        deep = dict(enumerate(self.compound_prompts_text, 1))
        classes = normalize(clip.encode_embedded(prompts, self.eot, deep))
        made = zip(self.compound_prompt_projections, self.compound_prompts_text, strict=True)
        vision = [self.proj(self.ctx), *(projection(prompts) for projection, prompts in made)]
        features = clip.encode_image(images, torch.stack(vision))
        return clip.logit_scale.exp() * normalize(features) @ classes.T


class CustomCLIP(nn.Module):
    """The whole model, as MaPLe's trainer registers it."""

    def __init__(self, clip, learner):
        super().__init__()
        self.prompt_learner = learner
        self.image_encoder, self.text_encoder = clip.visual, clip.transformer
        self.logit_scale = clip.logit_scale


class Row(NamedTuple):
    """A learner, its number of vectors, how it is created, and our settings."""

    kind: type
    length: int
    options: dict[str, Any]
    settings: dict[str, Any]
    classes: tuple[int, ...] = ()


ROWS = {
    "coop": Row(CoOp, 4, {}, {}),
    "coop middle": Row(CoOp, 5, {"position": "middle"}, {"name_position": "middle"}),
    "coop front": Row(CoOp, 3, {"position": "front"}, {"name_position": "front"}),
    "coop of classes": Row(CoOp, 2, {}, {"class_specific": True}, (len(NAMES),)),
    "cocoop": Row(CoCoOp, 4, {"words": PHOTO}, {}),
    "maple": Row(MaPLe, 2, {"words": PHOTO}, {"context_words": PHOTO, "depth": 3}),
    "maple from random": Row(MaPLe, 3, {"depth": 2}, {"depth": 2}),
    "maple shallow": Row(MaPLe, 6, {"depth": 1}, {"depth": 1}),
}


def train(row, clip, half=False):
    """Trains a learner of `ROWS`; with `half`, with the reference's default types."""
    torch.manual_seed(0)
    kind, length, options, _, classes = ROWS[row]
    learner = kind(clip, 0.1 * torch.randn(*classes, length, SIZES.text_width), **options)
    if half:
        # In MaPLe the compound prompts and their projections stay float32.
        modules = [learner.proj] if kind is MaPLe else [learner]
        for module in modules:
            module.half()
        for tensor in (learner.ctx, learner.token_prefix, learner.token_suffix):
            tensor.data = tensor.data.half()
    return learner


def registered(learner, clip):
    """Returns the module that the reference's trainer saves and loads."""
    return CustomCLIP(clip, learner) if isinstance(learner, MaPLe) else learner


def save_row(row, clip, folder, half=False, **more):
    """Writes a checkpoint of a row at its path below `--model-dir`."""
    layout = LAYOUTS[ROWS[row].kind.__name__.lower()]
    path = folder / layout.folder / "model.pth.tar-50"
    return save(path, registered(train(row, clip, half), clip), **more)


def wanted(row, folder):
    """Returns the settings for reading a row's checkpoint."""
    position = ROWS[row].settings.get("name_position", "end")
    return Wanted(str(folder), class_names=NAMES, name_position=position)


@functools.lru_cache
def frozen_parameters():
    """Returns parameters of a CLIP whose towers differ in width and depth."""
    return jax.tree.map(np.asarray, jax.jit(CLIP(SIZES).init)(jax.random.key(0)))


def save_clip(folder):
    """Writes the CLIP in float16, like OpenAI's."""
    saving.save_hugging_face(SIZES, frozen_parameters(), folder, "float16")
    return folder


def video_of(folder):
    """Returns the CLIP in a directory as a PyTorch model."""
    sizes, frozen = loading.load(folder)
    state = jax_side.openai_state(sizes, frozen)
    return TorchCLIP({**vars(sizes)}, state)


class Warmup(torch.optim.lr_scheduler.LRScheduler):
    """A schedule like Dassl's, whose state contains the next schedule and the optimizer."""

    def __init__(self, optimizer, successor):
        self.successor, self.warmup_epoch = successor, 1
        super().__init__(optimizer)

    def get_lr(self):
        return [1e-5 for _ in self.base_lrs]


def save(path, module, zipped=True, **changed):
    """Saves like Dassl's `save_model` after a training step; `changed` replaces entries."""
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.002, momentum=0.9)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 50.0)
    scheduler = Warmup(optimizer, cosine)
    sum(p.float().sum() for p in parameters).backward()
    optimizer.step()
    scheduler.step()
    module.load_state_dict(state)  # so that the values are those of `train`
    content = {
        "state_dict": module.state_dict(),
        "epoch": 50,
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "val_result": None,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content | changed, path, _use_new_zipfile_serialization=zipped)
    return path


def images(number=3):
    """Returns images uint8[H, W, 3] of other sizes than the tower's input."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (40 + 8 * n, 48, 3), np.uint8) for n in range(number)]
