"""Each error rule has a text that no other rule gives its type: a rule that is lost is noticed."""

import csv
import re
from functools import cache
from pathlib import Path

import pytest

from asu_stats.error_types import RULES, ErrorKind, classify

with (Path(__file__).parent / "data" / "rule_examples.csv").open(encoding="utf-8") as _file:
    EXAMPLES = [
        (row["text"], ErrorKind(row["category"], row["type"])) for row in csv.DictReader(_file)
    ]


@cache
def pattern(phrase: str) -> re.Pattern[str]:
    """Return a phrase as a regular expression (see the docstring of `error_rules`)."""
    words = phrase.lstrip("^=").rstrip("$")
    said = ".*".join(re.escape(part) for part in words.split(" ... "))
    begin = r"(?:^|: |[\"'(])" if phrase.startswith("^") else ""
    if phrase.startswith("="):
        return re.compile(f"^{said}$")
    if not begin and words[:1].isalnum():
        begin = r"(?<![\w-])"
    return re.compile(begin + said + ("$" if phrase.endswith("$") else ""))


def has(line: str, phrases: tuple[str, ...]) -> bool:
    return any(pattern(phrase).search(line) for phrase in phrases)


def fitting(text: str) -> list[int]:
    """Return the numbers of the rules that fit a text, read one after the other."""
    lines = [" ".join(line.split()) for line in text.lower().replace("%2f", "/").splitlines()]
    return [
        number
        for number, rule in enumerate(RULES)
        if any(has(line, rule.phrases) and has(line, rule.near or ("",)) for line in lines)
        and (not rule.where or any(has(line, rule.where) for line in lines))
    ]


@pytest.mark.parametrize(("text", "kind"), EXAMPLES)
def test_examples_are_classified(text: str, kind: ErrorKind) -> None:
    assert classify(text) == kind


def test_each_rule_has_an_example_that_no_other_rule_gives() -> None:
    decided = {}
    for text, kind in EXAMPLES:
        first, *others = fitting(text)
        assert RULES[first].type == kind.type, text
        if not others or RULES[others[0]].type != kind.type:
            decided[first] = text
    missing = [RULES[number] for number in range(len(RULES)) if number not in decided]
    assert missing == []
