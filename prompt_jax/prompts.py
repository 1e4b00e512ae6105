"""Building blocks of prompts: class tokens, context vectors, generators, encoded classes."""

import functools
from collections.abc import Sequence

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from prompt_jax.clip import CLIP, Frozen, normalize, tokenizer
from prompt_jax.clip.packing import PackedTokens, pack
from prompt_jax.clip.text import Cache, StackedCache, one_class_a_row
from prompt_jax.errors import PromptError, shorten
from prompt_jax.mesh import MODEL, constrain, replicate, size, text_axes
from prompt_jax.text.class_names import fill

PHOTO = "a photo of a {}."
STANDARD_DEVIATION = 0.02
# Suffixes are padded to one of these lengths, which limits the number of compilations.
BUCKETS = (4, 5, 6, 8, 10, 12, 16, 24, 32, 48, 76)
FEW_BUCKETS = (8, 16, 32, 76)


@flax.struct.dataclass
class ClassTokens:
    """The tokens of K classes, split into a shared prefix and a suffix per class.

    Attributes:
        prefix: int32[T], SOS and the words before the class name, the same for all classes.
        suffix: int32[K, S], each class's own tokens up to EOT, padded with zeros.
        eot: int32[K], index of EOT in the suffix.
        packed: the same suffixes with little padding.
        sos: keys and values of SOS, which are constant; None if not computed yet.
    """

    prefix: jax.Array
    suffix: jax.Array
    eot: jax.Array
    packed: PackedTokens
    sos: Cache | StackedCache | None = None

    @property
    def number(self) -> int:
        """Returns the number of classes K."""
        return self.suffix.shape[0]


def no_classes() -> ClassTokens:
    """Returns the tokens of zero classes: SOS alone, the prefix of captions."""
    prefix = jnp.asarray([tokenizer.SOS], jnp.int32)
    nothing = jnp.zeros(0, jnp.int32)
    return ClassTokens(prefix, nothing[:, None], nothing, packed=pack([]))


def tokenize_classes(
    template: str,
    names: Sequence[str],
    context_length: int = 77,
    share_words: bool = True,
    taken: int = 0,
    padded: bool = True,
    groups: int = 1,
    few_lengths: bool = False,
) -> ClassTokens:
    """Tokenizes `template` filled with each class name (underscores become spaces).

    Args:
        template: text with one "{}" for the name; "{}." for a learned context.
        names: K class names.
        context_length: slots of the text tower.
        share_words: whether the words before the name are part of the shared prefix.
        taken: slots that a learned context occupies.
        padded: whether to pad suffixes to the next of `BUCKETS`. Pass False if `taken` is unknown,
            as the padding may then not fit.
        groups: see `PackedTokens`.
        few_lengths: see `CLIP`; pads to `FEW_BUCKETS`.

    Raises:
        PromptError: the template has no "{}", there is no class, or a text is too long.
    """
    if template.count("{}") != 1:
        raise PromptError(f'template={template!r} must contain "{{}}" once, for the class name')
    if not names:
        raise PromptError("there are no classes: pass at least one class name")
    rows = [tokenizer.encode(fill(template, name)) for name in names]
    words_before = len(tokenizer.encode(template.split("{}")[0])) if share_words else 0
    shared = _common_prefix(rows, words_before)
    suffixes = [[*row[shared:], tokenizer.EOT] for row in rows]
    longest, room = max(map(len, suffixes)), context_length - taken - 1 - shared
    if longest > room:
        worst = names[int(np.argmax([len(s) for s in suffixes]))]
        learned = f", {taken} of them context vectors" if taken else ""
        advice = "use fewer context vectors" if taken else f"the template {template!r}"
        raise PromptError(
            f"the text of class {shorten(worst)} takes {context_length + longest - room} tokens"
            f"{learned}; the text tower has {context_length}: shorten the name or {advice}"
        )
    buckets = FEW_BUCKETS if few_lengths else BUCKETS if padded else ()
    bucket = next((b for b in buckets if b >= longest), longest)
    length = min(bucket, room)
    suffix = np.zeros((len(names), length), np.int32)
    for row, tokens in zip(suffix, suffixes, strict=True):
        row[: len(tokens)] = tokens
    eot = np.array([len(tokens) - 1 for tokens in suffixes], np.int32)
    prefix = np.array([tokenizer.SOS, *rows[0][:shared]], np.int32)
    packed = pack(suffixes, groups, few_lengths)
    return ClassTokens(jnp.asarray(prefix), jnp.asarray(suffix), jnp.asarray(eot), packed=packed)


def _common_prefix(rows, limit):
    first, length = rows[0], 0
    while length < limit and all(row[length : length + 1] == [first[length]] for row in rows):
        length += 1
    return length


def encode_classes(
    clip: CLIP,
    frozen: Frozen,
    classes: ClassTokens,
    context: jax.Array | None = None,
    deep_prompts: jax.Array | None = None,
) -> jax.Array:
    """Computes text features of all classes; the shared prefix runs once.

    Args:
        clip, frozen: the backbone.
        classes: K classes.
        context: float[..., M, d_l] or None; context vectors after the prefix's words. Leading axes
            (one context per image) are those of the result.
        deep_prompts: see `CLIP.prefill`.

    Returns:
        float[..., K, d], unnormalized.

    Raises:
        PromptError: prefix, context and suffix exceed the text tower's slots.
    """
    fixed = classes.prefix if classes.sos is None else classes.prefix[1:]
    prefix = clip.embed_text(frozen, fixed)
    if context is not None:
        prefix = jnp.broadcast_to(prefix, (*context.shape[:-2], *prefix.shape))
        prefix = jnp.concatenate([prefix, context], axis=-2)
    number = len(classes.prefix) - len(fixed) + prefix.shape[-2]
    _check_slots(clip, number, classes.suffix.shape[1])
    sos = None if classes.sos is None else list(classes.sos)
    cache = clip.prefill(frozen, prefix, deep_prompts, sos)
    return encode_packed(clip, frozen, cache, classes.packed)


def encode_packed(
    clip: CLIP,
    frozen: Frozen,
    cache: Cache,
    texts: PackedTokens,
    embedded: jax.Array | None = None,
) -> jax.Array:
    """Computes unnormalized text features float[..., N, d] of N texts after a cached prefix.

    `embedded`, float[rows, length, d_l] without positions, replaces the token ids.
    """
    tokens = clip.embed_text(frozen, texts.tokens) if embedded is None else embedded
    features = clip.extend(frozen, cache, tokens, texts.position, texts.eot, texts.groups)
    before, width = features.shape[:-3], features.shape[-1]
    if texts.groups == 1:
        return features.reshape(*before, -1, width)[..., texts.place, :]
    # Each group takes its own texts, so that no feature leaves its device.
    features = features.reshape(*before, texts.groups, -1, width)
    number, groups = len(texts.place), texts.groups
    places = jnp.pad(texts.place, (0, -number % groups)).reshape(groups, -1)
    own = jnp.maximum(places - features.shape[-2] * jnp.arange(groups)[:, None], 0)
    take = jax.vmap(lambda rows, own: rows[..., own, :], in_axes=(-3, 0), out_axes=-3)
    found = constrain(clip.mesh, take(features, own), text_axes(clip.mesh, groups), None, None)
    return found.reshape(*before, -1, width)[..., :number, :]


def encode_embedded(
    clip: CLIP,
    frozen: Frozen,
    prefix: jax.Array,
    suffix: jax.Array,
    eot: jax.Array,
    deep_prompts: jax.Array | None = None,
) -> jax.Array:
    """Computes text features of classes from embedded tokens, without positions.

    Args:
        clip, frozen: the backbone.
        prefix: float[..., T, d_l], SOS and the other tokens that all classes begin with.
        suffix: float[K, S, d_l], each class's own tokens up to EOT, padded.
        eot: int[K], index of EOT in the suffix.
        deep_prompts: see `CLIP.prefill`.

    Returns:
        float[..., K, d], unnormalized.

    Raises:
        PromptError: prefix and suffix exceed the text tower's slots.
    """
    _check_slots(clip, prefix.shape[-2], suffix.shape[-2])
    cache = clip.prefill(frozen, prefix, deep_prompts)
    position, groups = one_class_a_row(suffix), size(clip.mesh, MODEL)
    return clip.extend(frozen, cache, suffix, position, eot[:, None], groups)[..., 0, :]


def _check_slots(clip, prefix_length, suffix_length):
    slots = prefix_length + suffix_length
    if slots > clip.config.context_length:
        raise PromptError(
            f"context and class names take {slots} tokens, more than the text tower's "
            f"{clip.config.context_length}: use fewer context vectors or shorter names"
        )


def encode_prompted_image(
    clip: CLIP, frozen: Frozen, images: jax.Array, prompts: jax.Array
) -> jax.Array:
    """Computes image features with deep prompts as in VPT, IVLP and MaPLe.

    Args:
        clip, frozen: the backbone.
        images: float[B, H, W, 3], normalized images.
        prompts: float[J, N, d_v]; the first enter before `ln_pre` (MaPLe's code), the others
            overwrite those slots before layers 1..J-1; later layers keep the outputs.

    Returns:
        float[B, d], unnormalized.
    """
    tokens = clip.embed_image(frozen, images, prompts[:1])
    return clip.encode_tokens(frozen, tokens, prompts[1:], first_layer=1)


def encode_templates(
    clip: CLIP,
    frozen: Frozen,
    templates: Sequence[str],
    names: Sequence[str],
    normalized: bool = True,
) -> jax.Array:
    """Computes text features of classes, averaged over templates.

    Args:
        clip, frozen: the backbone.
        templates: texts with one "{}" for the name.
        names: K class names.
        normalized: whether to L2-normalize each template's features before averaging.

    Returns:
        float32[K, d]; the average is unnormalized.

    Raises:
        PromptError: see `tokenize_classes`.
    """
    slots = clip.config.context_length
    share_words = len(templates) == 1  # prefixes of many would have many lengths, each compiled
    total = jnp.zeros((len(names), clip.config.embed_dim), jnp.float32)
    for template in templates:
        how = share_words, 0, True, size(clip.mesh, MODEL), clip.few_lengths
        classes = tokenize_classes(template, names, slots, *how)
        features = _encode_classes(clip, frozen, classes)
        total += normalize(features) if normalized else features
    return total / len(templates)


@functools.partial(jax.jit, static_argnums=0)
def _encode_classes(clip, frozen, classes):
    return replicate(clip.mesh, encode_classes(clip, frozen, classes))


def init_context(
    rng: jax.Array, clip: CLIP, frozen: Frozen, length: int, words: str = "", cut: bool = False
) -> jax.Array:
    """Initializes context vectors float32[length, d_l].

    The last vectors are the embeddings of `words`; the others (all, if `words` is empty) are drawn
    from a normal distribution with standard deviation 0.02. With `cut`, tokens of `words` beyond
    the first `length` are ignored here and stay fixed after the context (`words_after`).

    Raises:
        PromptError: `length` is below 1, or the words have more tokens and `cut` is False.
    """
    if length < 1:
        raise PromptError(f"context_length={length} must be at least 1")
    context = STANDARD_DEVIATION * jax.random.normal(rng, (length, clip.config.text_width))
    tokens = tokenizer.encode(words)
    if cut:
        tokens = tokens[:length]
    if len(tokens) > length:
        raise PromptError(
            f"the context has {length} vectors but its words {words!r} take {len(tokens)} tokens; "
            "use more vectors or fewer words"
        )
    if not tokens:
        return context
    embedded = clip.embed_text(frozen, jnp.asarray(tokens))
    return jnp.concatenate([context[: length - len(tokens)], embedded])


def words_after(clip: CLIP, frozen: Frozen, length: int, words: str) -> jax.Array:
    """Returns the embeddings float32[n, d_l] of the words after the first `length` tokens.

    They stay fixed after the context: MaPLe's two vectors replace "a photo", followed by "of a".
    """
    return clip.embed_text(frozen, jnp.asarray(tokenizer.encode(words)[length:], jnp.int32))


def slots_before(length: int, words: str) -> int:
    """Returns the number of slots of a context of `length` vectors and the words after it."""
    return max(length, len(tokenizer.encode(words)))


def init_linear(rng: jax.Array, inputs: int, outputs: int, copies: int | None = None) -> dict:
    """Initializes a linear layer like PyTorch's `nn.Linear`: all uniform in ±1/√inputs.

    With `copies`, the kernel is shared and each copy has its own bias.
    """
    kernel_rng, bias_rng = jax.random.split(rng)
    bound = inputs**-0.5
    bias_shape = (outputs,) if copies is None else (copies, outputs)
    return {
        "kernel": jax.random.uniform(kernel_rng, (inputs, outputs), minval=-bound, maxval=bound),
        "bias": jax.random.uniform(bias_rng, bias_shape, minval=-bound, maxval=bound),
    }


def init_generator(
    rng: jax.Array, inputs: int, outputs: int, copies: int | None = None
) -> dict[str, dict]:
    """Initializes Linear - ReLU - Linear with hidden width inputs / 16 (CoCoOp, ProMPT's G)."""
    first, second = jax.random.split(rng)
    hidden = max(inputs // 16, 1)
    return {
        "linear1": init_linear(first, inputs, hidden, copies),
        "linear2": init_linear(second, hidden, outputs, copies),
    }


def multiply(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Computes x @ kernel in full float32; trained layers are small, so this costs little."""
    return jnp.matmul(x, kernel, precision="highest")


def generate(generator: dict, x: jax.Array) -> jax.Array:
    """Applies a generator: float[..., d] -> float[..., out]."""
    linear1, linear2 = generator["linear1"], generator["linear2"]
    hidden = jax.nn.relu(multiply(x, linear1["kernel"]) + linear1["bias"])
    return multiply(hidden, linear2["kernel"]) + linear2["bias"]


def generate_layers(generator: dict, x: jax.Array) -> jax.Array:
    """Applies a generator with a bias per layer: float[B, a, d] -> float[B, J, a, out]."""
    linear1, linear2 = generator["linear1"], generator["linear2"]
    hidden = multiply(x, linear1["kernel"])[:, None] + linear1["bias"][:, None]
    return multiply(jax.nn.relu(hidden), linear2["kernel"]) + linear2["bias"][:, None]
