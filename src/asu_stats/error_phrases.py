"""Finds the phrases of all rules in a text in one pass.

Searching for each of a thousand parts on its own takes 20 times as long on common texts, and a
text can be made that takes 100 times as long. An Aho-Corasick automaton (Aho and Corasick, 1975)
reads each character once; what it finds is looked at once per place.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import accumulate, compress, count
from operator import getitem, itemgetter
from typing import Any, Final, NamedTuple

from asu_stats.error_rules import RULES


class Phrase(NamedTuple):
    """A phrase, split into parts, and the rules that use it: one bit each, the first lowest."""

    parts: tuple[str, ...]
    starts: bool  # at the start of a message
    ends: bool  # at the end of a line
    whole: bool  # the whole line
    says: int = 0
    is_near: int = 0
    is_where: int = 0


class _Head(NamedTuple):
    """The meaning of a part at its place, alone or (`tied`) at the start of a message.

    `number` is the part's, `compared` its text if it has to be compared. Phrases that are complete
    with it say, are near or are where of rules; `first` are those that need another part, or the
    end of the line, too. `seconds` are the phrases whose second part it is, each with the key of
    its head and a number. `is_plain` tells that there is nothing but `says` and `near`.
    """

    length: int
    key: int
    tied: bool
    is_word: bool  # begins with a letter or digit
    not_before: str
    says: int
    near: int
    is_plain: bool
    rest: "_Rest"


class _Rest(NamedTuple):
    number: int
    compared: str
    is_head: bool  # not only a later part
    where: int
    first: tuple[Phrase, ...]
    seconds: tuple[tuple[int, int, Phrase], ...]


# The heads at the end of each line.
_LINE_ENDS: Final = (_Head(0, 0, False, False, "", 0, 0, True, _Rest(0, "", False, 0, (), ())),)


class _Automaton(NamedTuple):
    """`root` is a row: the next row for each class of characters, and last the parts that end."""

    classes: bytes
    root: list[Any]
    numbers: dict[str, int]
    without_near: int
    without_where: int


class Decision(NamedTuple):
    """The type of the first rule that fits, `None` if none does, and the lines on which it fits."""

    type: str | None
    lines: Sequence[str] = ()


def first_rule(lines: Sequence[str]) -> str | None:
    """Return the type of the first rule that fits, `None` if none does.

    Takes time linear in the length of `lines`, which hold no line ends.
    """
    return decide(lines).type


def decide(lines: Sequence[str]) -> Decision:
    """Return the first rule that fits. Takes time linear in the length of `lines`."""
    automaton = _automaton()
    text = "\n".join(lines) + "\n"
    letters = text.encode("ascii", "replace").translate(automaton.classes)
    rows = accumulate(letters, getitem, initial=automaton.root)
    next(rows)
    ending = list(map(itemgetter(-1), rows))
    reader = _Reader(automaton)
    reader.read(text, zip(compress(count(), ending), filter(None, ending), strict=True))
    found = reader.fits & (reader.places | automaton.without_where)
    if not found:
        return Decision(None)
    first = found & -found
    starts = [start for start, fits in reader.fitting if fits & first]
    fitting = [text[start : text.index("\n", start)] for start in starts]
    return Decision(RULES[first.bit_length() - 1].type, fitting)


class _Reader:
    """Which rules fit a line so far (`fits`) and which have a `where` (`places`): a bit each.

    `fitting` has where the lines begin that rules fit, and which rules.
    """

    def __init__(self, automaton: _Automaton) -> None:
        self.fits = 0
        self.places = 0
        self.fitting: list[tuple[int, int]] = []
        self._automaton = automaton
        self._numbers = automaton.numbers
        # Of the line:
        self._says = 0
        self._near = 0
        self._waiting: dict[int, list[tuple[Phrase, int, int]]] = {}  # by the part that is next
        self._at_end: list[tuple[Phrase, int]] = []
        self._is_open = False  # it needs more than heads
        self._reached: set[int] = set()  # phrases whose second part came behind the first

    def read(self, text: str, hits: Iterable[tuple[int, tuple[_Head, ...]]]) -> None:
        """Process the parts that end at each place."""
        waiting, without_near = self._waiting, self._automaton.without_near
        done: dict[int, int] = {}  # heads that have stood in the line, and where they ended
        says = near = 0  # of the line, as far as plain heads tell
        last_ending: tuple[_Head, ...] = ()
        last = start = 0
        for place, ending in hits:
            if ending is _LINE_ENDS:
                if self._is_open:
                    self._found(says, near)
                    self._end_line(start, last_ending if last == place else ())
                elif fits := says & (near | without_near):
                    self.fits |= fits
                    self.fitting.append((start, fits))
                done.clear()
                says = near = 0
                start = place + 1
                continue
            last, last_ending = place + 1, ending
            # A part must not begin inside a word or package name: `libopenssl:` is no `ssl:`.
            for (
                length,
                key,
                tied,
                is_word,
                not_before,
                its_says,
                its_near,
                is_plain,
                rest,
            ) in ending:
                begin = last - length
                if (waiting or not is_plain) and not self._is_head(rest, text, done, begin, last):
                    continue
                if key in done or (
                    not _starts(text, begin)
                    if tied
                    else text[last] == not_before
                    or (is_word and ((before := text[begin - 1]).isalnum() or before in "-_"))
                ):
                    continue
                done[key] = last
                says |= its_says
                near |= its_near
                if not is_plain:
                    self.places |= rest.where
                    for phrase in rest.first:
                        self._go_to(phrase, 1, begin, last)

    def _is_head(self, rest: _Rest, text: str, done: dict[int, int], begin: int, end: int) -> bool:
        """Process a part as a later part of phrases; tell whether it may be the first of others."""
        if rest.compared and not text.startswith(rest.compared, begin):
            return False
        self._follow(rest.seconds, done, begin, end)
        self._advance(rest.number, begin, end)
        return rest.is_head

    def _found(self, says: int, near: int, where: int = 0) -> None:
        self._is_open = True
        self._says |= says
        self._near |= near
        self.places |= where

    def _follow(
        self, seconds: Iterable[tuple[int, int, Phrase]], done: dict[int, int], begin: int, end: int
    ) -> None:
        """Advance phrases whose second part is at a place after their first."""
        for key, number, phrase in seconds:
            if done.get(key, end) <= begin and number not in self._reached:
                self._reached.add(number)
                self._go_to(phrase, 2, begin, end)

    def _advance(self, number: int, begin: int, end: int) -> None:
        """Advance the phrases that wait for a part."""
        for phrase, index, after in self._waiting.pop(number, ()):
            if after > begin:
                self._waiting.setdefault(number, []).append((phrase, index, after))
            else:
                self._go_to(phrase, index + 1, begin, end)

    def _go_to(self, phrase: Phrase, index: int, begin: int, end: int) -> None:
        """Make a phrase wait for its next part or for the end of the line, or complete it."""
        self._is_open = True
        if index < len(phrase.parts):
            following = self._numbers[phrase.parts[index]]
            self._waiting.setdefault(following, []).append((phrase, index, end))
        elif phrase.ends or phrase.whole:
            self._at_end.append((phrase, begin))
        else:
            self._found(phrase.says, phrase.is_near, phrase.is_where)

    def _end_line(self, start: int, ending: tuple[_Head, ...]) -> None:
        """Complete the phrases that end with the line, and determine which rules fit it."""
        for phrase, begin in self._at_end:
            number = self._numbers[phrase.parts[-1]]
            is_last = any(head.rest.number == number for head in ending)
            if is_last and (begin == start or not phrase.whole):
                self._found(phrase.says, phrase.is_near, phrase.is_where)
        fits = self._says & (self._near | self._automaton.without_near)
        if fits:
            self.fits |= fits
            self.fitting.append((start, fits))
        self._says = self._near = 0
        self._is_open = False
        self._waiting.clear()
        self._reached.clear()
        self._at_end.clear()


# Each line ends with a newline, so `text[-1]`, a newline, precedes the first line.
def _starts(text: str, begin: int) -> bool:
    """Return whether a place is the start of a message: of a line, or after `: `, a quote, `(`."""
    return text[begin - 1] in "\n\"'(" or text[begin - 2 : begin] == ": "


# Construction -----------------------------------------------------------------------------------


def parse(phrase: str) -> Phrase:
    """Parse a phrase; no rule is added to it yet."""
    starts, ends, whole = phrase.startswith("^"), phrase.endswith("$"), phrase.startswith("=")
    return Phrase(tuple(phrase.lstrip("^=").rstrip("$").split(" ... ")), starts, ends, whole)


def _phrases() -> list[Phrase]:
    """Return every phrase once, with the rules that use it."""
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


def _heads(
    text: str,
    numbers: Mapping[str, int],
    firsts: Sequence[Phrase],
    seconds: Sequence[tuple[int, Phrase]],
) -> tuple[_Head, ...]:
    """Return the meaning of a part: alone, at the start of a message, or only after other parts.

    It is the first part of `firsts`, and the second of `seconds`, which have their numbers.
    """
    number = numbers[text]
    # After a name may be anything but "-"; "dependencies for ssl:" is no `ssl:` either.
    not_before, is_word = "\n" if text.endswith(":") else "-", text[0].isalnum()
    compared = text if "?" in text else ""
    followed = tuple(
        (2 * numbers[phrase.parts[0]] + phrase.starts, mine, phrase) for mine, phrase in seconds
    )
    rest = _Rest(number, compared, True, 0, (), followed)
    found = []
    for tied in (False, True):
        mine = [p for p in firsts if (p.starts or p.whole) == tied]
        if mine:
            single = [p for p in mine if len(p.parts) == 1]
            says, near, where = _bits([p for p in single if not p.ends and not p.whole])
            first = tuple(p for p in single if p.ends or p.whole)
            rest = rest._replace(where=where, first=first)
            is_plain = not (where or first or compared or seconds)
            key = 2 * number + tied
            found.append(
                _Head(len(text), key, tied, is_word, not_before, says, near, is_plain, rest)
            )
    if not found:
        rest = rest._replace(is_head=False)
        found.append(_Head(len(text), 2 * number, False, is_word, not_before, 0, 0, False, rest))
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
    firsts: dict[str, list[Phrase]] = defaultdict(list)
    seconds: dict[str, list[tuple[int, Phrase]]] = defaultdict(list)
    for number, phrase in enumerate(phrases):
        firsts[phrase.parts[0]].append(phrase)
        for part in phrase.parts[1:2]:
            seconds[part].append((number, phrase))
    heads = {
        text.encode().translate(classes): _heads(text, numbers, firsts[text], seconds[text])
        for text in texts
    }
    root = _rows(heads, len(letters) + 1, classes[10])
    return _Automaton(classes, root, numbers, without_near, without_where)


def _rows(heads: Mapping[bytes, tuple[_Head, ...]], width: int, line_end: int) -> list[Any]:
    """Return the root of an automaton that finds the texts of `heads`, made of `width` classes."""
    root: list[Any] = [*[None] * width, ()]
    root[:width] = [root] * width
    ended = root[line_end] = []
    tree = _tree(heads)
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
    ended[-1] = _LINE_ENDS
    return root


def _tree(heads: Mapping[bytes, tuple[_Head, ...]]) -> tuple[dict[int, Any], list[_Head]]:
    """Return texts as a tree: the children of a node by letter, and the texts that end there."""
    root: tuple[dict[int, Any], list[_Head]] = ({}, [])
    for text, ending in heads.items():
        node = root
        for letter in text:
            node = node[0].setdefault(letter, ({}, []))
        node[1].extend(ending)
    return root
