"""Ranks of captions and videos equal CLIP4Clip's figures, also with ties and from encoders."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import largest_difference
from video_rows import BY_FIGURES, CAPTIONS, FIGURES, VIDEOS, prompts_of, task_of

from prompt_jax import methods
from prompt_jax.clip.vocabulary.captions import tokenize_captions
from prompt_jax.errors import PromptError
from prompt_jax.evaluation import retrieval
from prompt_jax.evaluation.metrics import (
    Ranks,
    rank,
    retrieve_texts,
    retrieve_videos,
    summarize,
    told_apart,
)
from prompt_jax.training.optim import warmup_cosine_schedule

PROTOCOL = FIGURES["protocol"]
DIRECTIONS = {"t2v": retrieve_videos, "v2t": retrieve_texts}


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_one_caption_per_video_is_counted_like_clip4clip(direction):
    ranks = DIRECTIONS[direction](PROTOCOL["single.sim"], np.arange(40))
    assert summarize(ranks) == pytest.approx(tuple(PROTOCOL[f"single.{direction}"]))


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_several_captions_per_video_are_counted_like_clip4clip(direction):
    ranks = DIRECTIONS[direction](PROTOCOL["multi.sim"], PROTOCOL["multi.text_video"])
    assert ranks.first.tolist() == PROTOCOL[f"multi.rank_{direction}"].tolist()
    assert (ranks.first == ranks.last).all()
    *others, _ = summarize(ranks)
    assert others == pytest.approx(PROTOCOL[f"multi.{direction}"][:4])


def test_the_median_of_an_even_number_of_ranks_is_the_mean_of_the_middle_two():
    assert summarize(rank(np.array([[3.0, 2, 1], [1, 2, 3]]), np.array([0, 1]))).median_rank == 1.5


def test_ties_count_as_the_mean_over_all_orders():
    scores = np.array([[5, 4, 4, 4, 3, 3, 2], [1, 1, 1, 1, 1, 1, 1], [7, 6, 5, 4, 3, 2, 1]]) / 8
    own, number = np.array([2, 6, 0]), 7
    totals = []
    for order in itertools.permutations(range(number)):
        broken = scores + 1e-3 * np.array(order)
        totals.append(summarize(rank(broken, own)))
    expected = np.mean(totals, axis=0)[:4]  # a mean of medians is not the median of means
    assert summarize(rank(scores, own))[:4] == pytest.approx(expected)


def test_similarities_that_differ_by_rounding_count_half():
    similarities = np.array([[0.5, 0.4], [0.5, 0.4], [0.3, 0.3 + 1e-8]])
    assert told_apart(similarities, np.array([0, 1, 0]), np.array([1, 0, 1])) == 50
    assert told_apart(similarities[1:], np.array([0, 0]), np.array([1, 1])) == 75


def test_captions_and_videos_may_have_any_order():
    similarities, owner = PROTOCOL["multi.sim"], PROTOCOL["multi.text_video"]
    rng = np.random.default_rng(0)
    texts, videos = rng.permutation(len(owner)), rng.permutation(25)
    new_place = np.argsort(videos)
    shuffled = similarities[texts][:, videos]
    for retrieve in DIRECTIONS.values():
        expected = summarize(retrieve(similarities, owner))
        assert summarize(retrieve(shuffled, new_place[owner[texts]])) == pytest.approx(expected)


def test_many_queries_are_ranked_in_parts():
    scores = np.random.default_rng(0).integers(0, 50, (2500, 9)).astype(np.float32)
    own = np.arange(2500) % 9
    mine = scores[np.arange(2500), own][:, None]
    expected = Ranks(1 + (scores > mine).sum(axis=1), (scores >= mine).sum(axis=1))
    assert largest_difference(rank(scores, own), expected) == 0


def test_undefined_ranks_are_rejected():
    with pytest.raises(PromptError, match="similarities of query 1 are NaN"):
        rank(np.array([[1.0, 2], [np.nan, 1]]), np.array([0, 1]))
    with pytest.raises(PromptError, match="1 of 3 videos have no caption, e.g. video 1"):
        retrieve_texts(np.zeros((2, 3)), np.array([0, 2]))


def test_the_schedule_equals_that_of_xpool():
    schedule = jax.vmap(warmup_cosine_schedule(2.0, 50))
    assert largest_difference(schedule(jnp.arange(50)), 2 * PROTOCOL["lr_factor"]) <= 1e-6


def test_batches_of_encoders_give_the_similarities_of_the_figures():
    row = BY_FIGURES["vop"]
    encoders, task, prompts = methods.get_encoders("vop"), task_of(row), prompts_of(row)
    tokens = tokenize_captions(CAPTIONS, 4).tokens
    texts = retrieval.encode_texts(encoders, prompts, task, retrieval.text_batches(tokens, 2), 3)
    batches = [
        {"image": VIDEOS[jnp.array([2, 0])], "row": np.array([2, 0])},
        {"image": VIDEOS[jnp.array([1, 1])], "row": np.array([1, -1])},
    ]
    [videos] = retrieval.encode_videos([(encoders, prompts, task)], batches, 3)
    logits = float(task.scale) * texts @ videos.T
    assert largest_difference(logits, FIGURES["vop"]["logits"]) <= 1e-4
    result = summarize(retrieval.evaluate(texts @ videos.T, [0, 1, 2]).text_to_video)
    hits = (FIGURES["vop"]["logits"].argmax(axis=1) == np.arange(3)).mean()
    assert result.r1 == pytest.approx(100 * hits)
    with pytest.raises(PromptError, match="1 of 3 videos were not read, e.g. video 1"):
        retrieval.encode_videos([(encoders, prompts, task)], batches[:1], 3)
    with pytest.raises(PromptError, match="there are no captions"):
        retrieval.encode_texts(encoders, prompts, task, [], 0)
