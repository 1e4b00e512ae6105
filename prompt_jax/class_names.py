"""When two class names are the same class: one rule for data, methods and predictions. No JAX."""

from prompt_jax import texts


def spaced(name: str) -> str:
    """Returns a class name as prompts hold it: underscores are spaces, single ones, none around."""
    return " ".join(name.replace("_", " ").split())


def fill(template: str, name: str) -> str:
    """Returns the text of a class: `template` with the name in place of "{}"."""
    return template.replace("{}", spaced(name))


def key(name: str) -> str:
    """Returns what a class name is known by: equal for names that make the same prompt.

    Two names have one key exactly when `fill` makes texts of the same token ids of them, as "soccer
    ball", "Soccer_Ball" and "soccer  ball" do, and "747" and "7 4 7". Three things are left out:
    characters that are newer than Python's Unicode tables, or than the tokenizer's; names that end
    in a sign and an escaped blank ("x.&nbsp;"), whose sign the template's full stop does not join;
    and names that no prompt can hold, such as CLIP's own markers.
    """
    return " ".join(texts.split(texts.clean(spaced(name))))
