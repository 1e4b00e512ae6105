"""Files of texts of classes: published layouts, matching of names, messages, digests."""

import json

import pytest
from reference import CLASSES, TEXTS

from prompt_jax.errors import PromptError
from prompt_jax.text import class_texts, text_files
from prompt_jax.text.class_texts import KINDS, Texts

PUBLISHED = {
    "description": "classes",
    "biomedcoop": "classes",
    "ez_clip": "classes",
    "perception_clip": "factors",
    "caps_adapter": "captions",
}
FACTORS = '''
"""A table as it is published."""
import os

birds_simple_template = [lambda c: f"a photo of a {c}."]
birds_main_template = [
    lambda c: f"a photo of a {c}"
]
birds_factor_templates = {
    "background": {"others": [""], "land": ["on land", "in forest"]},
}
print("this must not run")
os._exit(3)
'''


def write(folder, content, name="texts.json"):
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return path


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_files_are_read_from_disk_as_from_their_content(tmp_path, name):
    kind = PUBLISHED[name]
    path = write(tmp_path, TEXTS[name])
    texts = text_files.read(path, kind)
    assert texts == text_files.from_content(TEXTS[name], kind)
    assert texts.source == str(path) and texts.kind == kind and len(texts.digest) == 64


@pytest.mark.parametrize("kind", KINDS)
def test_saved_texts_are_read_again_unchanged(tmp_path, kind):
    texts = class_texts.stand_in(kind, ["cat", "sea_horse"])
    again = text_files.read(write(tmp_path, texts.as_json()), kind)
    assert again == texts and again.content == texts.content and hash(again) == hash(texts)
    assert text_files.resolve(texts, kind) is texts


def test_names_are_matched_without_case_and_underscores():
    texts = text_files.from_content({"Sea_Horse": ["one", "two"], "CAT": "three"}, "classes")
    assert texts.of(["cat", "sea horse", "Cat"]) == [("three",), ("one", "two"), ("three",)]


def test_missing_classes_are_listed_with_close_names(tmp_path):
    path = write(tmp_path, {"annual crop land": ["a"], "forest": [], "river": ["b"]})
    texts = text_files.read(path, "classes")
    names = ["AnnualCropLand", "annual_crop", "Forest", "lake"]
    with pytest.raises(PromptError) as caught:
        texts.of(names)
    message = str(caught.value)
    assert str(path) in message and "3 of 4 classes" in message
    assert "'annual crop' (there: 'annual crop land')" in message
    assert "'lake'" in message and "'Forest'" not in message
    assert texts.find(names)[1:] == [None, (), None]


def test_pairs_are_read_with_the_file_of_their_class_names(tmp_path):
    path = write(tmp_path, TEXTS["fudd"], "pets_prompt_pairs.json")
    with pytest.raises(PromptError, match="pets_class_names.json"):
        text_files.read(path, "pairs")
    write(tmp_path, CLASSES, "pets_class_names.json")
    texts = text_files.read(path, "pairs")
    named = {"class_names": CLASSES, "prompt_pairs": TEXTS["fudd"]}
    assert texts == text_files.from_content(named, "pairs")
    pairs = {(i, j): pair for i, j, pair in texts.content["pairs"]}
    # The file has classes 2 and 0 in this order.
    [(cat, orchid)] = pairs[0, 2]
    assert cat.startswith("a photo of a cat") and orchid.startswith("a photo of a yellow lady")


def test_factors_published_as_code_are_read_without_running_it(tmp_path, capfd):
    texts = text_files.read(write(tmp_path, FACTORS, "birds.py"), "factors")
    assert texts.content["main"] == "a photo of a {}"
    assert texts.content["convert_text"] == "object"
    [(factor, values)] = texts.content["factors"]
    assert factor == "background"
    assert values == (("others", ("",)), ("land", ("on land", "in forest")))
    assert capfd.readouterr().out == ""


SENTENCES = """
CUSTOM_TEMPLATES = {"birds": "a photo of a {}, a type of bird."}
BIOMEDCOOP_TEMPLATES = {
    "robin": ["A robin sings.", "It is red."],
    "Sea_Eagle": ["A large bird."],
}
"""


def test_sentences_published_as_code_are_read_by_variable(tmp_path):
    path = write(tmp_path, SENTENCES, "prompt_templates.py")
    texts = text_files.read(path, "classes")
    assert texts.of(["sea eagle", "Robin"])[0] == ("A large bird.",)
    assert text_files.read(f"{path}:BIOMEDCOOP_TEMPLATES", "classes") == texts
    with pytest.raises(PromptError, match=r"unknown variable.*'BIOMED'"):
        text_files.read(f"{path}:BIOMED", "classes")
    write(tmp_path, SENTENCES + 'OTHERS = {"cat": ["It purrs."]}', path.name)
    with pytest.raises(PromptError, match=r"has 2 variables.*OTHERS; name one as .*:NAME"):
        text_files.read(path, "classes")
    assert text_files.read(f"{path}:OTHERS", "classes").of(["cat"]) == [("It purrs.",)]


def test_sentences_are_read_from_csv(tmp_path):
    rows = (
        'SNo,Class Name,GPT3 discription\n1,brush hair,"\n\nBrushing, with a comb."\n\n2,run,Legs.'
    )
    texts = text_files.read(write(tmp_path, rows, "a.csv"), "classes")
    assert texts.of(["Brush_hair", "run"]) == [("Brushing, with a comb.",), ("Legs.",)]
    own = write(tmp_path, "class,text\ncat,one\ncat,two\n", "b.csv")
    assert text_files.read(own, "classes").of(["cat"]) == [("one", "two")]
    for content, words in (("a,b\n1,2", "must have a column"), ("class,text\ncat", "row 2 has 1")):
        with pytest.raises(PromptError, match=words):
            text_files.read(write(tmp_path, content, "c.csv"), "classes")


def test_the_order_of_factors_is_part_of_the_texts():
    values = {"a": ["x"], "b": ["y"]}
    one = {"factors": {"first": values, "second": values}}
    other = {"factors": {"second": values, "first": values}}
    assert text_files.from_content(one, "factors") != text_files.from_content(other, "factors")
    classes = {"cat": ["x"], "dog": ["y"]}
    turned = dict(reversed(classes.items()))
    same = [text_files.from_content(each, "classes") for each in (classes, turned)]
    assert same[0] == same[1]


def test_captions_are_read_by_image_in_order_or_from_directories(tmp_path):
    read = text_files.from_content
    assert read(["a cat.", "a dog."], "captions").captions == (("", "a cat."), ("", "a dog."))
    assert read({"1.jpg": "a cat."}, "captions").captions == (("1.jpg", "a cat."),)
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        rows = [{"id": 1, "image_path": f"/somewhere/{name}/1.jpg", "caption": f"a {name}."}]
        write(tmp_path / name, rows, "captions.json")
    folder = text_files.read(tmp_path, "captions")
    assert folder.captions == (("cat/1.jpg", "a cat."), ("dog/1.jpg", "a dog."))
    sentences = write(tmp_path, {"cat": ["Cats purr."], "dog": ["Dogs bark."]}, "sentences.json")
    both = text_files.read(f"{tmp_path},{sentences}", "captions")
    assert both.captions == folder.captions and both.of(["Dog"]) == [("Dogs bark.",)]


def test_texts_are_immutable():
    texts = text_files.from_content({"cat": ["x"]}, "classes")
    assert isinstance(texts, Texts)
    with pytest.raises(TypeError):
        texts.content["dog"] = ("y",)
    assert texts.content["cat"] == ("x",)


@pytest.mark.parametrize(
    ("kind", "content", "words"),
    [
        ("classes", {"cat": [1]}, "^texts: text 1 of class 'cat': expected a text, found 1 "),
        ("classes", {"crab": 7}, "class 'crab': expected a text or a list of texts, found 7 "),
        ("classes", {"cat": {"a": "b"}}, "'cat': expected a text or .*, found an object"),
        ("classes", {}, "at least 1 entry, found 0"),
        ("classes", ["cat"], r"^texts: expected \{class: \[text, …\]\}, found a list "),
        ("classes", {"cat": [""]}, r"text 1 of class 'cat': it is blank; write a text, or \[\]"),
        ("classes", {"cat": "\u200b"}, "text 1 of class 'cat': it is blank"),
        ("classes", {"": ["x"]}, "name '': it is empty"),
        ("classes", {"cat": ["x"] * 10_001}, "'cat': expected at most 10,000 texts, found 10,001"),
        ("classes", {"cat": ["\ud800"]}, "text 1 of class 'cat': .*half of a surrogate pair"),
        (
            "classes",
            {f"c{i}": i for i in range(9)},
            r"texts.md:(\n  class 'c\d': .*found \d){3}\n  and 6 more$",
        ),
        ("classes", {"sea horse": ["x"], "Sea_Horse": ["y"]}, "'sea horse' and 'Sea_Horse'"),
        ("classes", {"cat": ["x" * 20_000]}, "at most 10,000 characters, found 20,000"),
        ("pairs", {"class_names": ["a", "b"], "prompt_pairs": {"0_2": {}}}, "classes"),
        (
            "pairs",
            {
                "class_names": ["a", "b"],
                "prompt_pairs": {"0_2": {"classes": [0, 2], "prompt_pairs": []}},
            },
            "2 class names.*from 0 to 1",
        ),
        ("factors", {"main": "a photo", "factors": {"a": {"b": [""]}}}, "main"),
        ("factors", {"factors": {}}, "factors"),
        ("captions", {"captions": [3]}, r"captions\.0: expected a text or an .*, found 3"),
        ("captions", {"captions": 3}, "expected {image: caption} or a list of captions, found 3"),
        ("classes", {"kind": "pairs", "texts": {}}, "holds texts that tell two classes apart"),
        ("classes", {"0_1": {"classes": [0, 1], "prompt_pairs": []}}, "holds texts that tell"),
        ("classes", {"a/1.jpg": "a cat"}, "holds captions of .*; the method reads sentences or"),
        ("classes", [{"image_path": "1.jpg", "caption": "a cat"}], "holds captions"),
        ("classes", {"factors": {"a": {"b": [""]}}}, "holds descriptions of what surrounds"),
        ("pairs", {"0_1": {"prompt_pairs": []}}, "no class names: call it NAME_prompt_pairs.json"),
        ("pairs", {"cat": ["x"]}, "holds sentences .*; the method reads texts that tell two"),
        ("factors", {"cat": ["x"]}, r"holds sentences .*; .* an object \(docs/texts.md\)"),
        ("captions", {"cat": ["x"], "dog": "y"}, "holds sentences"),
        ("captions", {"factors": {"a": {"b": [""]}}}, "holds descriptions"),
        ("pairs", {"kind": "pairs", "texts": [1]}, "damaged"),
        ("nothing", {}, "unknown kind of texts"),
    ],
)
def test_other_content_is_rejected_with_a_message(kind, content, words):
    with pytest.raises(PromptError, match=words):
        text_files.from_content(content, kind)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.json", "{", "a.json is not JSON .*line 1, column 2.*; files are .json, .csv or .py"),
        ("a.json", " ", "a.json is empty"),
        ("a.json", b"\xff\xfe{}", "a.json is not UTF-8 text; save it as UTF-8"),
        ("a.json", r'{"cat": ["\ud800"]}', "text 1 of class 'cat': .*half of a surrogate pair"),
        ("a.json", '{"cat": ["x"], "cat": ["y"]}', "occurs twice"),
        ("a.json", "[" * 100_000, "nested too deeply"),
        ("line\nbreak.json", "{", r"^[^\n]*line\\nbreak.json is not JSON"),
        ("a.csv", b"class,text\n\xff,x", "a.csv is not UTF-8 text"),
        ("a.py", "x = (", "is not Python code"),
        ("a.py", "x = " + "(" * 5000, "is not Python code"),
        ("a.py", "x = " + "-" * 50_000 + "1", "is not Python code"),
        ("a.py", "X = dict(cat=['x'])", "a.py is a literal dict of lists .* is never run"),
        ("a.py", FACTORS, "holds descriptions of what surrounds an object"),
    ],
)
def test_damaged_files_are_rejected_with_a_message(tmp_path, name, content, words):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    with pytest.raises(PromptError, match=words):
        text_files.read(path, "classes")


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("a.py", "factors", "one variable NAME_factor_templates with a literal value, and has 0"),
        ("a.py", "pairs", "is Python code; texts that tell two classes apart are read from JSON"),
        ("a.csv", "captions", "is a CSV file; captions of training images are read from JSON"),
    ],
)
def test_other_formats_are_rejected_with_a_message(tmp_path, name, kind, words):
    with pytest.raises(PromptError, match=words):
        text_files.read(write(tmp_path, "x = {'a': 1}", name), kind)


def test_classes_without_a_text_are_noted_once(capsys):
    texts = text_files.from_content({"crab": [], "cat": ["x"], "Red Fox": []}, "classes")
    for _ in range(2):
        class_texts.note_empty(texts, ["crab", "cat", "red_fox"])
    class_texts.note_empty(texts, ["cat"])
    assert capsys.readouterr().err == (
        "note: texts has no text of class 'crab' (and 1 more); its name alone is used\n"
    )


def test_names_that_are_not_close_are_not_shown():
    texts = text_files.from_content({"sunflower": ["x"]}, "classes")
    with pytest.raises(PromptError, match="1 of 1 classes: 'lobster'; add them"):
        texts.of(["lobster"])


def test_a_missing_file_and_another_kind_are_named(tmp_path):
    with pytest.raises(PromptError, match="nothing.json cannot be read: No such file"):
        text_files.read(tmp_path / "nothing.json", "classes")
    with pytest.raises(PromptError, match=r"sentences or descriptions.*texts=.*docs/texts.md"):
        class_texts.check_given("classes", None)
    pairs = class_texts.stand_in("pairs", ["cat", "dog"])
    with pytest.raises(PromptError, match="holds texts that tell two classes apart"):
        class_texts.check_given("classes", pairs)
    assert class_texts.check_given("", pairs) is None
