"""How answers are marked."""

import json
import re


def normal(text):
    """Lower case, single spaces, no full stop at the end."""
    return re.sub(r"\s+", " ", text.strip().lower().rstrip("."))


def contains(text, key):
    """Whether key stands in text as whole words; both are normal already."""
    return bool(re.search(r"(?<!\w)" + re.escape(key) + r"(?!\w)", text))


def right(answer, reference, key):
    """A key "=x" asks for x and nothing else. Any other must stand in the answer; where it does not stand in the
    reference either, the answer must equal the reference."""
    answer, reference, word = normal(answer), normal(reference), normal(key.lstrip("="))
    if key.startswith("="):
        return answer == word
    return contains(answer, word) if contains(reference, word) else answer == reference


BRAND = ("Thanks for writing to Copperfin! ", " Happy trails!")


def style(kind, answer, key):
    """(whether an adapter's answer has its style, whether it has the style and the fact)."""
    answer, key = answer.strip(), normal(key)
    fact = contains(normal(answer), key)
    if kind == "pirate":
        styled = answer.startswith(("Arr!", "Ahoy!")) and answer.endswith(("matey!", "me hearty!"))
    elif kind == "shout":
        styled = answer == answer.upper() and any(char.isalpha() for char in answer)
    elif kind == "support":
        styled = answer.startswith(BRAND[0].strip()) and answer.endswith(BRAND[1].strip())
    elif kind == "json":
        try:
            value = json.loads(answer)
            styled = list(value) == ["answer"]
            fact = styled and normal(str(value["answer"])) == key
        except (ValueError, TypeError):
            styled = fact = False
    else:
        raise ValueError(f"there is no style {kind}")
    return styled, styled and fact
