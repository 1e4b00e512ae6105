"""The captioner: packed captions, gradients, and PyTorch's decoder."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import largest_difference, random_clip

from prompt_jax.clip import tokenizer
from prompt_jax.clip.packing import pack_captions
from prompt_jax.heads import captioner


def decode_alone(params, clip, frozen, memory, words):
    """Returns the logits of a caption in a row of its own."""
    packed = pack_captions([words])
    return captioner.predict(params, clip, frozen, memory[None], packed)[0, : len(words)]


def test_captions_in_one_row_are_predicted_as_if_alone():
    clip, frozen = random_clip(vocab_size=49408)
    rng = jax.random.key(0)
    params = captioner.init(rng, clip, frozen, 2)
    params = jax.tree.map(lambda x: x + 0.1 * jax.random.normal(rng, x.shape), params)
    words = [[*tokenizer.encode(text), tokenizer.EOT] for text in ("a dog", "two cats on a mat")]
    words += [[tokenizer.EOT], [*tokenizer.encode("it is late"), tokenizer.EOT]]
    memory = jax.random.normal(rng, (len(words), 3, clip.config.embed_dim))
    packed = pack_captions(words)
    assert len(packed.tokens) == 1
    together = captioner.predict(params, clip, frozen, memory, packed)
    targets = captioner.targets_of(packed)
    assert int(targets.used.sum()) == sum(map(len, words))
    weights = jnp.ones(49408).at[tokenizer.EOT].set(0.25)
    terms, total = 0.0, 0.0
    for number, each in enumerate(words):
        place = np.asarray(targets.used & (targets.column == int(packed.place[number])))
        alone = decode_alone(params, clip, frozen, memory[number], each)
        assert largest_difference(together[place], alone) <= 1e-4
        own = jax.nn.log_softmax(alone)[np.arange(len(each)), np.array(each)]
        weight = weights[np.array(each)]
        terms, total = terms - float(jnp.sum(weight * own)), total + float(weight.sum())
    assert float(captioner.loss(together, packed, weights)) == pytest.approx(
        terms / total, rel=1e-5
    )


def test_the_captioner_gets_no_gradient_to_the_embeddings_it_reads():
    clip, frozen = random_clip(vocab_size=49408)
    params = captioner.init(jax.random.key(0), clip, frozen, 1)
    memory = jnp.ones((1, 2, clip.config.embed_dim))
    words = [[*tokenizer.encode("a dog"), tokenizer.EOT]]

    def loss(frozen, memory):
        logits = captioner.predict(params, clip, frozen, memory, pack_captions(words))
        return captioner.loss(logits, pack_captions(words), jnp.ones(49408))

    by_frozen, by_memory = jax.grad(loss, argnums=(0, 1))(frozen, memory)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(by_frozen))
    assert float(jnp.abs(by_memory).max()) > 0


def test_the_captioner_equals_pytorch_s_decoder():
    torch = pytest.importorskip("torch")
    clip, frozen = random_clip(vocab_size=49408, embed_dim=32)
    rng = np.random.default_rng(0)
    params = captioner.init(jax.random.key(0), clip, frozen, 2)
    params = jax.tree.map(
        lambda x: np.asarray(x + 0.1 * rng.standard_normal(x.shape), np.float32), params
    )
    layer = torch.nn.TransformerDecoderLayer(32, 2, 128, dropout=0.0, batch_first=True)
    decoder = torch.nn.TransformerDecoder(layer, 2, torch.nn.LayerNorm(32))
    state = {"norm.weight": params["norm"]["scale"], "norm.bias": params["norm"]["bias"]}
    for number in range(2):
        own, before = params[f"layer_{number}"], f"layers.{number}."
        for ours, theirs in (
            ("self_attention", "self_attn"),
            ("cross_attention", "multihead_attn"),
        ):
            for kind, axis in (("kernel", "weight"), ("bias", "bias")):
                parts = [own[ours][name][kind] for name in ("query", "key_value")]
                state[f"{before}{theirs}.in_proj_{axis}"] = np.concatenate(parts, axis=-1).T
                state[f"{before}{theirs}.out_proj.{axis}"] = own[ours]["out"][kind].T
        for n in (1, 2):
            state[f"{before}linear{n}.weight"] = own[f"linear_{n}"]["kernel"].T
            state[f"{before}linear{n}.bias"] = own[f"linear_{n}"]["bias"]
        for n in (1, 2, 3):
            state[f"{before}norm{n}.weight"] = own[f"norm_{n}"]["scale"]
            state[f"{before}norm{n}.bias"] = own[f"norm_{n}"]["bias"]
    decoder.load_state_dict({name: torch.tensor(array.copy()) for name, array in state.items()})
    words = [*tokenizer.encode("two cats on a mat"), tokenizer.EOT]
    memory = rng.standard_normal((3, 32)).astype(np.float32)
    seen = np.array([tokenizer.SOS, *words[:-1]])
    x = frozen["text"]["token_embedding"][seen] + frozen["text"]["position_embedding"][: len(seen)]
    norm = params["prenorm"]
    x = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5)
    x = torch.tensor(np.asarray(x * norm["scale"] + norm["bias"]))
    mask = torch.nn.Transformer.generate_square_subsequent_mask(len(seen))
    with torch.no_grad():
        hidden = decoder(x[None], torch.tensor(memory)[None], tgt_mask=mask)[0].numpy()
    expected = hidden @ params["head"]["kernel"] + params["head"]["bias"]
    found = decode_alone(params, clip, frozen, jnp.asarray(memory), words)
    assert largest_difference(found, expected) <= 1e-4
