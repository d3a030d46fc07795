"""Finding the phrases of all rules in a text at once: one pass, whatever the text.

Searching for each of a thousand parts on its own takes 20 times as long on common texts, and a
text can be made that takes 100 times as long. An Aho-Corasick automaton (Aho and Corasick, 1975)
reads each character once; what it finds is looked at once per place.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import accumulate, compress
from operator import getitem, itemgetter
from typing import Any, Final, NamedTuple

from asu_stats.error_rules import RULES

_LINE_END: Final = -1  # stands among the parts that end at a place


class Phrase(NamedTuple):
    """A phrase of the rules, taken apart, and which rules it serves: bits, the first lowest."""

    parts: tuple[str, ...]
    starts: bool  # at the start of a message
    ends: bool  # at the end of a line
    whole: bool  # the whole line
    says: int = 0
    is_near: int = 0
    is_where: int = 0


class _Head(NamedTuple):
    """What begins with a part where it stands: phrases that are complete with it.

    `first` are those that need the end of the line too.
    """

    key: int
    tied: bool  # to the start of a message
    is_word: bool  # begins with a letter or digit
    not_before: str
    complete: tuple[int, int, int]  # rules that these say, are near, are where
    first: tuple[Phrase, ...]


_Seconds = tuple[tuple[int, int, Phrase], ...]


class _Automaton(NamedTuple):
    """`root` is a row: for each class of characters the next row, and last the parts that end.

    Of each part there are its length, its text if it has to be compared, its heads, and the
    phrases whose second part it is, each with the key of its head and a number.
    """

    classes: bytes
    root: list[Any]
    parts: Sequence[tuple[int, str, tuple[_Head, ...], _Seconds]]
    numbers: dict[str, int]
    without_near: int
    without_where: int


def first_rule(lines: Sequence[str]) -> str | None:
    """Return the type of the first rule that fits, `None` if none does.

    Takes time linear in the length of `lines`, which hold no line ends.
    """
    automaton = _automaton()
    text = "\n".join(lines) + "\n"
    letters = text.encode("ascii", "replace").translate(automaton.classes)
    rows = accumulate(letters, getitem, initial=automaton.root)
    next(rows)
    ending = list(map(itemgetter(-1), rows))
    reader = _Reader(automaton)
    reader.read(text, compress(enumerate(ending), ending))
    found = reader.fits & (reader.places | automaton.without_where)
    return RULES[(found & -found).bit_length() - 1].type if found else None


class _Reader:
    """Which rules fit a line so far (`fits`) and which have a `where` (`places`): a bit each."""

    def __init__(self, automaton: _Automaton) -> None:
        self.fits = 0
        self.places = 0
        self._automaton = automaton
        self._numbers = automaton.numbers
        # Of the line:
        self._says = 0
        self._near = 0
        self._waiting: dict[int, list[tuple[Phrase, int, int]]] = {}  # by the part that is next
        self._at_end: list[tuple[Phrase, int]] = []
        self._reached: set[int] = set()  # phrases whose second part came behind the first

    def read(self, text: str, hits: Iterable[tuple[int, tuple[int, ...]]]) -> None:
        """Take in at which places which parts end."""
        parts, waiting = self._automaton.parts, self._waiting
        done: dict[int, int] = {}  # heads that have stood in the line, and where they ended
        last_ending: tuple[int, ...] = ()
        last = start = 0
        for place, ending in hits:
            if ending[0] == _LINE_END:
                if done:
                    self._end_line(start, last_ending if last == place else ())
                    done.clear()
                start = place + 1
                continue
            last, last_ending = place + 1, ending
            for number in ending:
                length, compared, heads, seconds = parts[number]
                begin = last - length
                if compared and not text.startswith(compared, begin):
                    continue
                if seconds or waiting:
                    self._follow(seconds, done, begin, last)
                    self._go_on(number, begin, last)
                # A word or a package's name is not looked into: `libopenssl:` is no `ssl:`.
                for key, tied, is_word, not_before, complete, first in heads:
                    if key in done or (
                        not _starts(text, begin)
                        if tied
                        else text[last] == not_before
                        or (is_word and ((before := text[begin - 1]).isalnum() or before in "-_"))
                    ):
                        continue
                    done[key] = last
                    self._found(*complete)
                    for phrase in first:
                        self._go_to(phrase, 1, begin, last)

    def _found(self, says: int, near: int, where: int) -> None:
        self._says |= says
        self._near |= near
        self.places |= where

    def _follow(self, seconds: _Seconds, done: dict[int, int], begin: int, end: int) -> None:
        """Let phrases go on whose second part is at a place, behind their first."""
        for key, number, phrase in seconds:
            if done.get(key, end) <= begin and number not in self._reached:
                self._reached.add(number)
                self._go_to(phrase, 2, begin, end)

    def _go_on(self, number: int, begin: int, end: int) -> None:
        """Let the phrases that wait for a part go on behind it."""
        for phrase, index, after in self._waiting.pop(number, ()):
            if after > begin:
                self._waiting.setdefault(number, []).append((phrase, index, after))
            else:
                self._go_to(phrase, index + 1, begin, end)

    def _go_to(self, phrase: Phrase, index: int, begin: int, end: int) -> None:
        """Let a phrase wait for a part of it, or for the end of the line, or be complete."""
        if index < len(phrase.parts):
            following = self._numbers[phrase.parts[index]]
            self._waiting.setdefault(following, []).append((phrase, index, end))
        elif phrase.ends or phrase.whole:
            self._at_end.append((phrase, begin))
        else:
            self._found(phrase.says, phrase.is_near, phrase.is_where)

    def _end_line(self, start: int, ending: tuple[int, ...]) -> None:
        """Take the phrases that the end of a line completes, and see which rules fit it."""
        for phrase, begin in self._at_end:
            is_last = self._numbers[phrase.parts[-1]] in ending
            if is_last and (begin == start or not phrase.whole):
                self._found(phrase.says, phrase.is_near, phrase.is_where)
        self.fits |= self._says & (self._near | self._automaton.without_near)
        self._says = self._near = 0
        self._waiting.clear()
        self._reached.clear()
        self._at_end.clear()


# Lines end with a line end, and the text does: that is what stands before the first one.
def _starts(text: str, begin: int) -> bool:
    """Tell whether a place is the start of a message: of a line, or after `: `, a quote, `(`."""
    return text[begin - 1] in "\n\"'(" or text[begin - 2 : begin] == ": "


# Building it ------------------------------------------------------------------------------------


def parse(phrase: str) -> Phrase:
    """Return a phrase of the rules, which serves none yet."""
    starts, ends, whole = phrase.startswith("^"), phrase.endswith("$"), phrase.startswith("=")
    return Phrase(tuple(phrase.lstrip("^=").rstrip("$").split(" ... ")), starts, ends, whole)


def _phrases() -> list[Phrase]:
    """Return every phrase once, with the rules that it serves."""
    found: dict[Phrase, list[int]] = {}
    for number, rule in enumerate(RULES):
        for place, texts in enumerate((rule.phrases, rule.near, rule.where)):
            for text in texts:
                found.setdefault(parse(text), [0, 0, 0])[place] |= 1 << number
    return [
        phrase._replace(says=bits[0], is_near=bits[1], is_where=bits[2])
        for phrase, bits in found.items()
    ]


def _bits(phrases: Sequence[Phrase]) -> tuple[int, int, int]:
    says = near = where = 0
    for phrase in phrases:
        says, near, where = says | phrase.says, near | phrase.is_near, where | phrase.is_where
    return says, near, where


def _heads(number: int, text: str, phrases: Sequence[Phrase]) -> tuple[_Head, ...]:
    """Return what begins with a part: where it stands, and where a message starts."""
    # After a name may be anything but "-"; "dependencies for ssl:" is no `ssl:` either.
    not_before = "\n" if text.endswith(":") else "-"
    found = []
    for tied in (False, True):
        mine = [p for p in phrases if p.parts[0] == text and (p.starts or p.whole) == tied]
        single = [p for p in mine if len(p.parts) == 1]
        complete = [p for p in single if not p.ends and not p.whole]
        first = tuple(p for p in single if p.ends or p.whole)
        key, is_word = 2 * number + tied, text[0].isalnum()
        if mine:
            found.append(_Head(key, tied, is_word, not_before, _bits(complete), first))
    return tuple(found)


@cache
def _automaton() -> _Automaton:
    phrases = _phrases()
    texts = sorted({part for phrase in phrases for part in phrase.parts})
    numbers = {text: number for number, text in enumerate(texts)}
    letters = sorted({ord(letter) for text in texts for letter in text} | {ord("\n")})
    classes = bytes(letters.index(code) + 1 if code in letters else 0 for code in range(256))
    without_near = without_where = 0
    for number, rule in enumerate(RULES):
        without_near |= (not rule.near) << number
        without_where |= (not rule.where) << number
    return _Automaton(
        classes,
        _rows([text.encode().translate(classes) for text in texts], len(letters) + 1, classes[10]),
        [
            (
                len(text),
                text if "?" in text else "",
                _heads(number, text, phrases),
                tuple(
                    (2 * numbers[phrase.parts[0]] + phrase.starts, mine, phrase)
                    for mine, phrase in enumerate(phrases)
                    if phrase.parts[1:2] == (text,)
                ),
            )
            for number, text in enumerate(texts)
        ],
        numbers,
        without_near,
        without_where,
    )


def _rows(texts: Sequence[bytes], width: int, line_end: int) -> list[Any]:
    """Return the root of an automaton that finds `texts`, made of `width` classes."""
    root: list[Any] = [*[None] * width, ()]
    root[:width] = [root] * width
    ended = root[line_end] = []
    tree = _tree(texts)
    queue = deque([(root, root, tree)])
    while queue:
        row, failure, (children, mine) = queue.popleft()
        if row is not root:
            row[:] = failure
            row[-1] = (*mine, *failure[-1])
        for letter, child in children.items():
            following: list[Any] = []
            queue.append((following, row[letter], child))
            row[letter] = following
    ended[:] = root
    ended[-1] = (_LINE_END,)
    return root


def _tree(texts: Sequence[bytes]) -> tuple[dict[int, Any], list[int]]:
    """Return texts as a tree: the children of a node by letter, and which texts end there."""
    root: tuple[dict[int, Any], list[int]] = ({}, [])
    for number, text in enumerate(texts):
        node = root
        for letter in text:
            node = node[0].setdefault(letter, ({}, []))
        node[1].append(number)
    return root
