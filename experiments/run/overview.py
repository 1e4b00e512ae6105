"""What a run reads, said at its start: classes, pictures, and what is wrong with the lists."""

from collections.abc import Hashable, Sequence

from data_pipelines import datasets, lists
from data_pipelines.errors import DataError, printable
from data_pipelines.examples import Dataset
from data_pipelines.lists import Part, Remark
from experiments.run.plans import Plan
from prompt_jax.clip import tokenizer

_LISTED = 20  # classes that are listed with their counts; of more, the first few
_FIRST = 3
_LONGEST_NAME = 40


def show(plan: Plan, shots: int, trains: bool) -> None:
    """Prints what a run trains on and tests, and remarks on it.

    Args:
        plan: the run's lists.
        shots: training pictures a class that were asked for.
        trains: whether anything is made of the training pictures.

    Raises:
        DataError: figures on these lists would mean nothing; says why.
    """
    print("\n".join(printable(line) for line in describe(plan, trains)))
    found = remarks(plan, shots, trains)
    for remark in found:
        if not remark.stops:
            print(printable(f"note: {remark.text}"))
    wrong = [remark.text for remark in found if remark.stops]
    if wrong:
        listed = f" {wrong[0]}" if len(wrong) == 1 else "".join(f"\n  {text}" for text in wrong)
        raise DataError(f"the figures of this run would mean nothing:{listed}")


def describe(plan: Plan, trains: bool) -> list[str]:
    """A line for what is trained on, and one for each test set."""
    if plan.by_captions:
        return _describe_captions(plan, trains)
    lines: list[str] = []
    known: tuple[str, ...] = ()
    if trains:
        known = plan.train.class_names
        val = f", {len(plan.train.val):,} for validation" if plan.train.val else ""
        lines.append(f"train ({plan.title}): " + _counted(plan.train, plan.train.train, val))
    for key, dataset in plan.tests.items():
        same = known == dataset.class_names
        title = plan.title if key == "test" else key
        lines.append(f"test ({title}): " + _counted(dataset, dataset.test, "", same))
        known = known or dataset.class_names
    return lines


def _describe_captions(plan: Plan, trains: bool) -> list[str]:
    """The same, where captions are told apart."""
    parts = [("train", plan.title, plan.train.train)] if trains else []
    parts += [
        ("test", plan.title if key == "test" else key, dataset.test)
        for key, dataset in plan.tests.items()
    ]
    return [
        f"{role} ({name}): {_number(len(examples), 'clip')}, "
        + _number(sum(len(example.captions) for example in examples), "caption")
        for role, name, examples in parts
    ]


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"


def _counted(dataset: Dataset, examples: Sequence, more: str, same: bool = False) -> str:
    names = dataset.class_names
    counts = lists.count(names, examples)
    least, most = min(counts), max(counts)
    several = len(names) > 1
    each = f" ({f'{least:,} to ' * (least < most)}{most:,} each)" if several else ""
    classes = f"{'the same ' * same}{len(names):,} class{'es' * several}"
    text = f"{classes}, {_number(len(examples), dataset.kind[:-1])}{each}{more}"
    if same:
        return text
    shown = [_short(name) for name in names]
    if len(names) > _LISTED:
        return f"{text}: {', '.join(shown[:_FIRST])}, … and {len(names) - _FIRST:,} more"
    if least < most:
        shown = [f"{name} ({number:,})" for name, number in zip(shown, counts, strict=True)]
    return f"{text}: {', '.join(shown)}"


def _short(name: str) -> str:
    # A name from a file must not steer the terminal.
    text = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in name)
    return text if len(text) <= _LONGEST_NAME else text[:_LONGEST_NAME] + "…"


def shots_per_class(plan: Plan) -> list[int] | None:
    """The fewest and the most training pictures that a class has; None without classes."""
    if plan.by_captions:
        return None
    counts = lists.count(plan.train.class_names, plan.train.train)
    return [min(counts), max(counts)]


WHOLE = (
    ", four in all: base-to-novel, which is the default, halves them; --config.protocol=few_shot "
    "trains on all and tests all"
)


def remarks(plan: Plan, shots: int, trains: bool) -> list[Remark]:
    """What people should know of the lists before they trust figures on them."""
    train = Part("train", plan.train, plan.train.train)
    tests = [
        Part("test" if key == "test" else f"test {key}", dataset, dataset.test)
        for key, dataset in plan.tests.items()
    ]
    if plan.by_captions:
        return _remarks_on_captions(train, tests, trains)
    found = []
    if trains:
        found += lists.one_class("train", plan.train.class_names)
        found += _without(train) + lists.fewer_than(shots, train)
        parts = [train, Part("val", plan.train, plan.train.val), *tests]
        found += lists.listed_twice(parts)
        # Published sets are what they are; hashing them takes long.
        found += lists.copies([part for part in parts if _is_own(part.dataset)])
    for part in tests:
        advice = WHOLE if set(plan.tests) == {"base", "new"} else ""
        found += lists.one_class(part.role, part.dataset.class_names, advice) + _without(part)
    for part in [train, *tests] if trains else tests:
        found += [Remark(note) for note in part.dataset.notes] + _prompts(part.dataset)
    return list(dict.fromkeys(found))


def _remarks_on_captions(train: Part, tests: Sequence[Part], trains: bool) -> list[Remark]:
    """The same, where captions are told apart."""
    found: list[Remark] = []
    for part in [train, *tests]:
        found += [Remark(note) for note in part.dataset.notes]
    for part in [train, *tests] if trains else tests:
        found += lists.one_clip(part)
    for part in tests:
        found += lists.same_captions(part)
    if trains:
        found += lists.listed_twice([train, *(part for part in tests if part.role == "test")])
        found += lists.copies([part for part in [train, *tests] if _is_own(part.dataset)])
    return list(dict.fromkeys(found))


def _without(part: Part) -> list[Remark]:
    names = part.dataset.class_names
    counts = lists.count(names, part.examples)
    empty = [repr(name) for name, number in zip(names, counts, strict=True) if not number]
    return lists.summary(f"{part.role}: classes without {part.dataset.kind}", empty)


def _is_own(dataset: Dataset) -> bool:
    return datasets.entry(dataset.name).counts is None


def _prompts(dataset: Dataset) -> list[Remark]:
    """Remarks on classes that CLIP's tokenizer, which folds case, spaces and more, makes equal."""

    def prompt(name: str) -> Hashable:
        return tuple(tokenizer.encode(dataset.template.replace("{}", name.replace("_", " "))))

    names, nothing = dataset.class_names, prompt("")
    blank = [repr(name) for name in names if prompt(name) == nothing]
    what, advice = "class names of which no token is left", "rename the classes"
    found = lists.summary(what, blank, True, advice)
    return found + lists.same_prompts(names, prompt, datasets.entry(dataset.name).repeated_names)
