"""What encoders of clips and texts are trained for: captions against clips, or class names."""

import jax
import jax.numpy as jnp
import optax

from prompt_jax.captions import tokenize_captions
from prompt_jax.errors import PromptError
from prompt_jax.methods.encoders import Encoders
from prompt_jax.methods.method import Method, Output
from prompt_jax.packing import pack_captions


def retrieve(encoders: Encoders) -> Method:
    """Captions against clips: cross-entropy over both, of the pairs of the batch.

    A batch is {"image": float[B, F, H, W, 3], "text": `PackedTokens` of B captions, "label":
    int[B], the clip of each caption: 0 … B - 1}. Rows of the logits are captions, columns clips,
    and a caption's own clip is the right one, also where another shows the same. On several devices
    the pairs are those of the global batch.

    Source: vop.md "Similarity and loss"; the loss of X-Pool and CLIP4Clip.
    """

    def forward(prompts, prepared, task, pairs):
        del prepared
        clips = encoders.encode_clips(prompts, task, pairs.clips)
        texts = encoders.encode_texts(prompts, task, pairs.texts)
        logits = encoders.scale(prompts, task) * similarities(texts, clips)
        own = jnp.arange(len(logits))
        columns = optax.softmax_cross_entropy_with_integer_labels(logits.T, own)
        return Output(logits[None], weights=(0.5,), losses={"clips": 0.5 * jnp.mean(columns)})

    return Method(
        encoders.Settings,
        encoders.init,
        forward,
        sees="pairs",
        trains=encoders.trains,
        constrain=encoders.constrain,
    )


def recognize(encoders: Encoders) -> Method:
    """Class names against clips: cross-entropy over the classes.

    The text of a class is the data set's template, filled with its name.
    """

    def constants(task, class_names, template):
        """The classes' token ids."""
        texts = [template.replace("{}", name.replace("_", " ")) for name in class_names]
        prompts = encoders.text_prompts(task.settings)
        captions = tokenize_captions(texts, prompts, task.clip.config.context_length)
        if captions.cut:
            raise PromptError(
                f"the text of class {class_names[captions.cut[0]]!r}, "
                f"{texts[captions.cut[0]]!r}, is longer than the text tower, of whose "
                f"{task.clip.config.context_length} slots prompts take {prompts}: shorten the name "
                "or the template"
            )
        return jax.tree.map(jnp.asarray, pack_captions(captions.tokens))

    def prepare(prompts, task):
        """The classes' text features, float32[K, d]."""
        return encoders.encode_texts(prompts, task, task.constants)

    def forward(prompts, prepared, task, clips):
        """Similarity of the clip with every class."""
        clips = encoders.encode_clips(prompts, task, clips)
        return Output(encoders.scale(prompts, task) * similarities(clips, prepared)[None])

    return Method(
        encoders.Settings,
        encoders.init,
        forward,
        prepare,
        sees="clips",
        constants=constants,
        trains=encoders.trains,
        constrain=encoders.constrain,
    )


def similarities(rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Products float32[N, M] of features float32[N, d] and float32[M, d]."""
    # As in `cosine_logits`: times 100, what accelerators round float32 products to would show.
    return jnp.matmul(rows, columns.T, precision="highest")
