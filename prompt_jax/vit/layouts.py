"""Maps the checkpoints of DINO and of transformers' `ViTModel` to the parameter tree."""

from prompt_jax.clip.checkpoints.layouts import Layout, Leaf, block_leaves, module_leaves
from prompt_jax.vit.tower import ViTConfig

_DINO_BLOCK = {
    "ln_1": ("norm1.{}",),
    "qkv": ("attn.qkv.{}",),
    "out": ("attn.proj.{}",),
    "ln_2": ("norm2.{}",),
    "fc": ("mlp.fc1.{}",),
    "proj": ("mlp.fc2.{}",),
}
_HUGGING_FACE_BLOCK = {
    "ln_1": ("layernorm_before.{}",),
    "qkv": tuple(f"attention.attention.{name}.{{}}" for name in ("query", "key", "value")),
    "out": ("attention.output.dense.{}",),
    "ln_2": ("layernorm_after.{}",),
    "fc": ("intermediate.dense.{}",),
    "proj": ("output.dense.{}",),
}


def dino_layout(layers: int) -> Layout:
    """Returns the layout of DINO's released backbones."""
    return [
        *_embeddings("patch_embed.proj", "cls_token", "pos_embed"),
        *block_leaves("image", "blocks.", _DINO_BLOCK, layers),
        *module_leaves("image/ln_post", "norm.{}"),
    ]


def hugging_face_layout(layers: int) -> Layout:
    """Returns the layout of transformers' `ViTModel`, without its pooling layer."""
    names = ("patch_embeddings.projection", "cls_token", "position_embeddings")
    return [
        *_embeddings(*(f"embeddings.{name}" for name in names)),
        *block_leaves("image", "encoder.layer.", _HUGGING_FACE_BLOCK, layers),
        *module_leaves("image/ln_post", "layernorm.{}"),
    ]


def _embeddings(patches: str, class_token: str, positions: str) -> Layout:
    return [
        Leaf("image/patch_embedding/kernel", (f"{patches}.weight",), "conv"),
        Leaf("image/patch_embedding/bias", (f"{patches}.bias",)),
        Leaf("image/class_embedding", (class_token,)),
        Leaf("image/position_embedding", (positions,)),
    ]


def parameter_shapes(config: ViTConfig) -> dict[str, tuple[int, ...]]:
    """Returns the shape of every parameter by path, e.g. "image/block_0/qkv/kernel"."""
    c = config
    shapes: dict[str, tuple[int, ...]] = {
        "image/patch_embedding/kernel": (c.patch_size, c.patch_size, 3, c.width),
        "image/patch_embedding/bias": (c.width,),
        "image/class_embedding": (c.width,),
        "image/position_embedding": (1 + c.patches, c.width),
    }
    linears = {"qkv": (c.width, 3 * c.width), "out": (c.width, c.width)}
    linears |= {"fc": (c.width, c.mlp), "proj": (c.mlp, c.width)}
    norms = ["image/ln_post"]
    for block in (f"image/block_{layer}" for layer in range(c.layers)):
        norms += [f"{block}/ln_1", f"{block}/ln_2"]
        for name, shape in linears.items():
            shapes |= {f"{block}/{name}/kernel": shape, f"{block}/{name}/bias": shape[1:]}
    for name in norms:
        shapes |= {f"{name}/scale": (c.width,), f"{name}/bias": (c.width,)}
    return shapes
