"""The bare towers in PyTorch, and compilation of towers by `torch.compile`."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor

from experiments.benchmark.counterparts.torch_clip import Learner


class Tower(Learner):
    """A tower's forward pass, without prompts."""

    text = False

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Returns features float[N, d] of images float[N, 3, H, W], or of the texts handed over."""
        return self.clip.encode_text(self.tokens) if self.text else self.clip.encode_image(images)


class TextTower(Tower):
    """The text tower, on the texts handed over."""

    text = True


def compile_blocks(module: Learner, backend: str = "inductor") -> None:
    """Compiles each block of both towers, with attention by `scaled_dot_product_attention`.

    Blocks of a tower have the same code, which is compiled once for all of them; a whole tower
    would take minutes and leave the methods' loops over images and layers as they are.
    """
    import torch._dynamo

    settings = torch._dynamo.config
    if torch.__version__ < "2.5":
        settings.inline_inbuilt_nn_modules = True  # later the default, and deprecated
    settings.cache_size_limit = 64
    for tower in (module.clip.visual.transformer, module.clip.transformer):
        for block in tower.resblocks:
            block.compile(backend=backend, dynamic=False)


@contextlib.contextmanager
def uncompiled(module: Learner) -> Iterator[None]:
    """Runs the blocks without compilation."""
    towers = (module.clip.visual.transformer, module.clip.transformer)
    blocks = [block for tower in towers for block in tower.resblocks]
    calls = [block._compiled_call_impl for block in blocks]
    try:
        for block in blocks:
            block._compiled_call_impl = None
        yield
    finally:
        for block, call in zip(blocks, calls, strict=True):
            block._compiled_call_impl = call
