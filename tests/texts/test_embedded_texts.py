"""Texts of the embedded scenes follow by rule from Unicode's facts, and suit every class."""

import itertools
import json

import pytest

from data_pipelines.errors import DataError
from data_pipelines.scenes import ACTIONS, CLASSES, DOMAINS, facts
from data_pipelines.scenes.backgrounds import COLORS
from experiments.configs import recipes
from experiments.setup import building, loading, plans
from prompt_jax import methods
from prompt_jax.clip import tokenizer
from prompt_jax.errors import PromptError
from prompt_jax.text import embedded, image_captions, text_files

# As they stand in Unicode's files.
ANNOTATIONS = {
    "annotations": {
        "annotations": {
            "🦓": {"default": ["animal", "stripe", "zebra"], "tts": ["zebra"]},
            "☂": {"default": ["clothing", "rain", "umbrella"], "tts": ["umbrella"]},
            "🦂": {
                "default": ["Scorpio", "scorpion", "Scorpius", "zodiac"],
                "tts": ["scorpion"],
            },
        }
    }
}
EMOJI_TEST = """\
# group: Animals & Nature

# subgroup: animal-mammal
1F993                                                  ; fully-qualified     # 🦓 E5.0 zebra
# subgroup: animal-bug
1F982                                                  ; fully-qualified     # 🦂 E1.0 scorpion
# group: Travel & Places
# subgroup: sky & weather
2602 FE0F                                              ; fully-qualified     # ☂️ E0.7 umbrella
2602                                                   ; unqualified         # ☂ E0.7 umbrella
""".splitlines()


def test_facts_are_collected_from_unicode_s_files():
    names = ("zebra", "umbrella", "scorpion")
    found = facts.collect(ANNOTATIONS, EMOJI_TEST, names)
    stored = embedded.facts()
    assert found["classes"] == {name: stored["classes"][name] for name in names}
    assert found["actions"] == stored["actions"]
    assert found["classes"]["zebra"]["keywords"] == ["animal", "stripe"]
    with pytest.raises(DataError, match=r"annotations\.json has no 🐈, the emoji of 'cat'"):
        facts.collect(ANNOTATIONS, EMOJI_TEST, ("cat",))


def test_the_stored_facts_are_those_of_the_classes_and_actions():
    stored = embedded.facts()
    assert tuple(stored["classes"]) == CLASSES and list(stored["actions"]) == list(ACTIONS)
    assert facts.as_text(stored) == facts.RESULT.read_text(encoding="utf-8")
    assert {one["subgroup"] for one in stored["classes"].values()} == embedded.TOPICS.keys()


def test_the_command_finds_facts_that_differ(tmp_path, monkeypatch, capsys):
    paths = [tmp_path / "annotations.json", tmp_path / "emoji-test.txt"]
    paths[0].write_text(json.dumps(ANNOTATIONS), encoding="utf-8")
    paths[1].write_text("\n".join(EMOJI_TEST), encoding="utf-8")
    arguments = ["--annotations", str(paths[0]), "--emoji-test", str(paths[1])]
    collect = facts.collect
    monkeypatch.setattr(facts, "collect", lambda *read: collect(*read, names=("zebra",)))
    monkeypatch.setattr(facts, "RESULT", tmp_path / "facts.json")
    assert facts.start(arguments) == 0
    assert facts.start([*arguments, "--check"]) == 0
    facts.RESULT.write_text("{}", encoding="utf-8")
    assert facts.start([*arguments, "--check"]) == 1
    assert facts.start([*arguments[:2], "--emoji-test", str(tmp_path / "none")]) == 2
    assert "facts.json differs" in capsys.readouterr().out


def test_every_class_has_the_same_number_of_sentences():
    texts = text_files.read("embedded", "classes")
    found = texts.of(CLASSES)
    assert {len(each) for each in found} == {len(embedded.SENTENCES)} and len(found[0]) >= 6
    for name, each in zip(CLASSES, found, strict=True):
        assert all(f"a {name}" in text and text.startswith("a ") for text in each)
        assert len(set(each)) >= 6
    # The embedded CLIP has read texts of up to 14 tokens after up to 20 fillers.
    assert max(len(tokenizer.encode(text)) for each in found for text in each) <= 24


def test_classes_are_told_apart_by_their_sentences():
    found = text_files.read("embedded", "classes").of(CLASSES)
    without = {
        frozenset(text.replace(name, "") for text in each)
        for name, each in zip(CLASSES, found, strict=True)
    }
    assert len(without) > 0.9 * len(CLASSES)


def test_every_action_has_one_sentence_with_its_phrases():
    texts = text_files.read("embedded", "classes").of([*ACTIONS])
    for (name, action), each in zip(ACTIONS.items(), texts, strict=True):
        assert len(each) == 1, name
        assert action.phrases[0].replace("a {other}", "another thing") in each[0]
        assert "{" not in each[0]


def test_pairs_say_what_is_true_of_one_class_only():
    content = text_files.read("embedded", "pairs").content
    names = content["class_names"]
    assert names == CLASSES
    assert len(content["pairs"]) > 0.99 * len(CLASSES) * (len(CLASSES) - 1) / 2
    for i, j, [[one, other]] in content["pairs"]:
        assert f"a {names[i]}" in one and f"a {names[j]}" in other
        assert one.partition(",")[2] != other.partition(",")[2]
    cat, dog = names.index("cat"), names.index("dog")
    [texts] = [texts for i, j, [texts] in content["pairs"] if (i, j) == (cat, dog)]
    assert texts == ("a photo of a cat, which goes with kitten.", "a photo of a dog.")
    shared = set(embedded.words_of("cat")) & set(embedded.words_of("dog"))
    assert shared and not any(word in text for word in shared for text in texts)


def test_factors_are_those_of_the_scenes():
    content = text_files.read("embedded", "factors").content
    factors = dict(content["factors"])
    assert [value for value, _ in factors["background"]] == list(COLORS)
    assert [value for value, _ in factors["style"]] == list(DOMAINS)


def test_training_scenes_have_captions(tmp_path):
    c = recipes.get_config("caps_adapter")
    c.data.update(domain="night", num_classes=3)
    config = building.check(c)
    texts = loading.read_texts(config, methods.get("caps_adapter"))
    scenes = plans.load_dataset(config.data, config.data.key, 48).train
    found = image_captions.find(texts, [scene.image for scene in scenes])
    assert all(scene.name in one for scene, one in zip(scenes, found, strict=True))
    assert len(set(found)) > len(scenes) / 2 and all("at night" in one for one in found)
    assert len(texts.of(CLASSES)) == len(CLASSES)


def test_the_embedded_texts_are_of_the_embedded_data_only(tmp_path):
    c = recipes.get_config("perception_clip")
    c.data.update(name="folder", root=str(tmp_path))
    config = building.check(c)
    with pytest.raises(PromptError, match=r"texts=embedded holds texts of emoji_scenes.*not of fo"):
        loading.read_texts(config, methods.get("perception_clip"))


def test_the_same_texts_have_the_same_digest():
    for kind in ("classes", "factors"):
        first, second = (text_files.read("embedded", kind) for _ in range(2))
        assert first == second and first.source == "embedded"
    named = itertools.chain(*embedded.sentences().values())
    assert all(text.endswith(".") for text in named)
