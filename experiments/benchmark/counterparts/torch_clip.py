"""CLIP in PyTorch as OpenAI's code has it, with today's fused attention; parameters of its names.

Neither JAX nor our library is imported here: a process of the counterpart must not pay for them.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def normalize(features: Tensor) -> Tensor:
    """L2-normalised along the last axis."""
    return features / features.norm(dim=-1, keepdim=True)


class Attention(nn.Module):
    """Multi-head self-attention, causal or not, on float[N, S, d]."""

    def __init__(self, width: int, heads: int, causal: bool):
        """Names its parameters as `nn.MultiheadAttention` does."""
        super().__init__()
        self.heads, self.causal = heads, causal
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """float[N, S, d] -> float[N, S, d]."""
        number, length, width = x.shape
        projected = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        heads = projected.view(number, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = heads.unbind(0)
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        return self.out_proj(attended.transpose(1, 2).reshape(number, length, width))


class QuickGELU(nn.Module):
    """x * sigmoid(1.702 x)."""

    def forward(self, x: Tensor) -> Tensor:
        """Elementwise."""
        return x * torch.sigmoid(1.702 * x)


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int, heads: int, mlp: int, activation: str, causal: bool):
        """Sizes as in `CLIPConfig`."""
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads, causal)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential()
        self.mlp.add_module("c_fc", nn.Linear(width, mlp))
        self.mlp.add_module("gelu", QuickGELU() if activation == "quick_gelu" else nn.GELU())
        self.mlp.add_module("c_proj", nn.Linear(mlp, width))

    def forward(self, x: Tensor) -> Tensor:
        """float[N, S, d] -> float[N, S, d]."""
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    """Blocks, driven by the towers."""

    def __init__(self, layers: int, *sizes: Any):
        """`layers` times `Block(*sizes)`."""
        super().__init__()
        self.resblocks = nn.ModuleList(Block(*sizes) for _ in range(layers))


class ImageTower(nn.Module):
    """A ViT with a class token."""

    def __init__(self, sizes: Mapping[str, Any]):
        """`sizes` are the fields of a `CLIPConfig`."""
        super().__init__()
        width, patch = sizes["image_width"], sizes["patch_size"]
        patches = (sizes["image_size"] // patch) ** 2
        self.conv1 = nn.Conv2d(3, width, patch, stride=patch, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.positional_embedding = nn.Parameter(torch.empty(1 + patches, width))
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = Transformer(
            sizes["image_layers"], width, sizes["image_heads"], sizes["image_mlp"],
            sizes["activation"], False,
        )  # fmt: skip
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(torch.empty(width, sizes["embed_dim"]))

    def embed(self, images: Tensor) -> Tensor:
        """Class and patch tokens float[B, S, d_v] of images float[B, 3, H, W], before `ln_pre`."""
        x = self.conv1(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x], dim=1)
        return x + self.positional_embedding

    def head(self, x: Tensor) -> Tensor:
        """Image features float[B, d] of float[B, S, d_v], the class token first."""
        return self.ln_post(x[:, 0]) @ self.proj

    def forward(
        self,
        images: Tensor,
        shallow: Tensor | None = None,
        deep: Mapping[int, Tensor] | None = None,
    ) -> Tensor:
        """Image features float[B, d], not normalised.

        Args:
            images: float[B, 3, H, W].
            shallow: float[B, n, d_v], prompts behind the patches before `ln_pre`.
            deep: layer to float[B, n, d_v], prompts that take the place of what stands behind the
                patches before that layer.
        """
        x = self.embed(images)
        length = x.shape[1]
        if shallow is not None:
            x = torch.cat([x, shallow], dim=1)
        x = self.ln_pre(x)
        for layer, block in enumerate(self.transformer.resblocks):
            if deep is not None and layer in deep:
                x = torch.cat([x[:, :length], deep[layer]], dim=1)
            x = block(x)
        return self.head(x)


class TorchCLIP(nn.Module):
    """Both towers; frozen."""

    def __init__(self, sizes: Mapping[str, Any], state: Mapping[str, Any]):
        """Copies the weights.

        Args:
            sizes: the fields of a `CLIPConfig`.
            state: float32 arrays by OpenAI's names.
        """
        super().__init__()
        width = sizes["text_width"]
        self.visual = ImageTower(sizes)
        self.transformer = Transformer(
            sizes["text_layers"], width, sizes["text_heads"], sizes["text_mlp"],
            sizes["activation"], True,
        )  # fmt: skip
        self.token_embedding = nn.Embedding(sizes["vocab_size"], width)
        self.positional_embedding = nn.Parameter(torch.empty(sizes["context_length"], width))
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.empty(width, sizes["embed_dim"]))
        self.logit_scale = nn.Parameter(torch.empty(()))
        self.load_state_dict({name: torch.as_tensor(array) for name, array in state.items()})
        self.requires_grad_(False)

    def encode_text(
        self, embeddings: Tensor, eot: Tensor, deep: Mapping[int, Tensor] | None = None
    ) -> Tensor:
        """Text features float[K, d], not normalised, of all 77 slots.

        Args:
            embeddings: float[K, 77, d_l], without positions.
            eot: int[K], where EOT stands.
            deep: layer to float[n, d_l], prompts that overwrite slots 1..n before that layer.
        """
        x = embeddings + self.positional_embedding
        for layer, block in enumerate(self.transformer.resblocks):
            if deep is not None and layer in deep:
                prompts = deep[layer].expand(len(x), -1, -1)
                x = torch.cat([x[:, :1], prompts.to(x.dtype), x[:, 1 + prompts.shape[1] :]], dim=1)
            x = block(x)
        return self.text_head(x, eot)

    def text_head(self, x: Tensor, eot: Tensor) -> Tensor:
        """Text features float[K, d] of float[K, S, d_l], at int[K]."""
        x = self.ln_final(x)
        return x[torch.arange(len(x), device=x.device), eot] @ self.text_projection
