"""A frozen CLIP with OpenAI's parameter names."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def normalize(features: Tensor) -> Tensor:
    """Returns features L2-normalized along the last axis."""
    return features / features.norm(dim=-1, keepdim=True)


class Attention(nn.Module):
    """Multi-head self-attention on float[N, S, d], with a causal mask or without."""

    def __init__(self, width: int, heads: int, causal: bool):
        super().__init__()
        self.heads, self.causal = heads, causal
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Maps tokens float[N, S, d] to float[N, S, d]."""
        projected = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        query, key, value = (
            each.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for each in projected.chunk(3, dim=-1)
        )
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        return self.out_proj(attended.transpose(1, 2).flatten(2))


class QuickGELU(nn.Module):
    """The activation x * sigmoid(1.702 x) of OpenAI's weights."""

    def forward(self, x: Tensor) -> Tensor:
        """Applies the activation elementwise."""
        return x * torch.sigmoid(1.702 * x)


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int, heads: int, mlp: int, activation: str, causal: bool):
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads, causal)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential()
        self.mlp.add_module("c_fc", nn.Linear(width, mlp))
        self.mlp.add_module("gelu", QuickGELU() if activation == "quick_gelu" else nn.GELU())
        self.mlp.add_module("c_proj", nn.Linear(mlp, width))

    def forward(self, x: Tensor) -> Tensor:
        """Maps tokens float[N, S, d] to float[N, S, d]."""
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    """The blocks of a tower, which runs them one by one, so that prompts can enter in between."""

    def __init__(self, sizes: Mapping[str, Any], tower: str):
        super().__init__()
        self.resblocks = nn.ModuleList(
            Block(
                sizes[f"{tower}_width"],
                sizes[f"{tower}_heads"],
                sizes[f"{tower}_mlp"],
                sizes["activation"],
                causal=tower == "text",
            )
            for _ in range(sizes[f"{tower}_layers"])
        )


class ImageTower(nn.Module):
    """A ViT with a class token."""

    def __init__(self, sizes: Mapping[str, Any]):
        super().__init__()
        width, patch = sizes["image_width"], sizes["patch_size"]
        self.slots = 1 + (sizes["image_size"] // patch) ** 2
        self.conv1 = nn.Conv2d(3, width, patch, stride=patch, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.positional_embedding = nn.Parameter(torch.empty(self.slots, width))
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = Transformer(sizes, "image")
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(torch.empty(width, sizes["embed_dim"]))

    def embed(self, images: Tensor, prompts: Tensor | None = None) -> Tensor:
        """Returns class and patch tokens float[B, S, d_v] before the first block.

        Args:
            images: float[B, 3, H, W], normalized.
            prompts: float[a, d_v], appended before `ln_pre`, without position embeddings.
        """
        x = self.conv1(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(x.shape[0], 1, -1), x], dim=1)
        x = x + self.positional_embedding
        if prompts is not None:
            x = torch.cat([x, prompts.expand(x.shape[0], -1, -1)], dim=1)
        return self.ln_pre(x)

    def run(self, x: Tensor, deep: Mapping[int, Tensor] | None = None) -> Tensor:
        """Returns image features float[B, d], not normalized, of embedded tokens float[B, S, d_v].

        Args:
            x: from `embed`.
            deep: layer to prompts float[a, d_v] or float[B, a, d_v], which replace the tokens after
                the patches before that layer.
        """
        for layer, block in enumerate(self.transformer.resblocks):
            if deep and layer in deep:
                prompts = deep[layer].expand(x.shape[0], -1, -1)
                x = torch.cat([x[:, : self.slots], prompts], dim=1)
            x = block(x)
        return self.head(x)

    def head(self, x: Tensor) -> Tensor:
        """Returns image features float[B, d] of the last block's tokens, the class token first."""
        return self.ln_post(x[:, 0]) @ self.proj


class CLIP(nn.Module):
    """Both towers of a frozen CLIP."""

    def __init__(self, sizes: Mapping[str, Any], state: Mapping[str, Tensor]):
        """Takes `sizes` of config.json and the weights with OpenAI's names."""
        super().__init__()
        width = sizes["text_width"]
        self.context_length = sizes["context_length"]
        self.visual = ImageTower(sizes)
        self.transformer = Transformer(sizes, "text")
        self.token_embedding = nn.Embedding(sizes["vocab_size"], width)
        self.positional_embedding = nn.Parameter(torch.empty(self.context_length, width))
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.empty(width, sizes["embed_dim"]))
        self.logit_scale = nn.Parameter(torch.empty(()))
        self.load_state_dict(state)
        self.requires_grad_(False)

    def encode_image(self, images: Tensor, prompts: Tensor | None = None) -> Tensor:
        """Returns image features float[B, d], not normalized.

        Args:
            images: float[B, 3, H, W], normalized.
            prompts: float[J, a, d_v]; the first enter before `ln_pre`, the others replace them
                before layers 1..J-1.
        """
        if prompts is None:
            return self.visual.run(self.visual.embed(images))
        first, *deep = prompts
        return self.visual.run(self.visual.embed(images, first), dict(enumerate(deep, 1)))

    def encode_text(
        self,
        ids: Tensor,
        context: Tensor | None = None,
        deep: Mapping[int, Tensor] | None = None,
    ) -> Tensor:
        """Returns text features float[N, d], not normalized; [..., N, d] with a context.

        Args:
            ids: int[N, L], with SOS and EOT, padded with zeros.
            context: see `encode_after`.
            deep: see `encode_embedded`.
        """
        words, eot = self.token_embedding(ids), ids.argmax(dim=-1)  # EOT has the highest id
        if context is not None:
            return self.encode_after(context, words, eot, deep)
        return self.encode_embedded(words, eot, deep)

    def encode_after(
        self,
        context: Tensor,
        words: Tensor,
        eot: Tensor,
        deep: Mapping[int, Tensor] | None = None,
    ) -> Tensor:
        """Returns text features float[..., N, d], not normalized, of texts with a context.

        Args:
            context: float[..., M, d_l], inserted between SOS and the words of every text; leading
                axes, e.g. one context per image, are those of the result.
            words: float[N, L, d_l], embedded token ids.
            eot: int[N], positions of EOT in them.
            deep: see `encode_embedded`.
        """
        axes, number = context.shape[:-2], words.shape[0]
        words = words.expand(*axes, *words.shape)
        context = context.unsqueeze(-3).expand(*axes, number, *context.shape[-2:])
        x = torch.cat([words[..., :1, :], context, words[..., 1:, :]], dim=-2)
        return self.encode_embedded(x, eot + context.shape[-2], deep)

    def encode_embedded(
        self, x: Tensor, eot: Tensor, deep: Mapping[int, Tensor] | None = None
    ) -> Tensor:
        """Returns text features float[..., N, d], not normalized, of embedded texts.

        Args:
            x: float[..., N, L, d_l], without position embeddings; L may be less than 77, as
                attention is causal.
            eot: int[N], positions of EOT.
            deep: layer to prompts float[n, d_l], which replace positions 1..n before that layer.
        """
        axes, (number, length) = x.shape[:-3], x.shape[-3:-1]
        x = (x + self.positional_embedding[:length]).reshape(-1, length, x.shape[-1])
        for layer, block in enumerate(self.transformer.resblocks):
            if deep and layer in deep:
                prompts = deep[layer].expand(x.shape[0], -1, -1)
                x = torch.cat([x[:, :1], prompts, x[:, 1 + prompts.shape[1] :]], dim=1)
            x = block(x)
        return self.read_text(x.reshape(*axes, number, length, x.shape[-1]), eot)

    def read_text(self, x: Tensor, eot: Tensor) -> Tensor:
        """Returns text features float[..., N, d] of the last block's tokens [..., N, L, d_l]."""
        at_eot = x[..., torch.arange(x.shape[-3], device=x.device), eot, :]
        return self.ln_final(at_eot) @ self.text_projection
