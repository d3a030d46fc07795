"""Fingerprints of error texts: texts that differ only in names have the same fingerprint.

The pattern of a text is made of the lines that decide its type (`error_types`). In these lines,
names, numbers, paths, hashes, versions and URLs become placeholders. The fingerprint is a digest of
category, type and pattern. A stored fingerprint has the number of the `ALGORITHM` that computed it,
and is never computed again.

Texts are untrusted, so everything here takes time linear in a bounded length.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Final, NamedTuple

from asu_stats.error_rules import RULES
from asu_stats.error_types import telling_lines

#: Incremented when the pattern of a text may change.
ALGORITHM: Final = 1
LENGTH: Final = 16

_LINES: Final = 8  # lines that are read
_KEPT: Final = 3  # lines of a pattern
_LINE: Final = 200  # characters


class Fingerprint(NamedTuple):
    """A digest of category, type and pattern, and the pattern."""

    fingerprint: str
    pattern: str


def of(message: str | None, category: str, error_type: str) -> Fingerprint:
    """Return the fingerprint of an error, which may have no text. Never raises."""
    pattern = pattern_of(message or "") or f"{error_type} (no text)"
    return Fingerprint(_digest(category, error_type, pattern), pattern)


def other(category: str, error_type: str) -> Fingerprint:
    """Return the fingerprint of all errors of a type beyond the limit of fingerprints."""
    return Fingerprint(_digest(category, error_type, "\0"), f"{error_type} (all others)")


def _digest(*words: str) -> str:
    text = "\0".join(words).encode("utf-8", "surrogatepass")
    return blake2b(text, digest_size=LENGTH // 2).hexdigest()


@lru_cache(maxsize=256)
def pattern_of(message: str) -> str:
    """Return the lines of a text that decide its type, with placeholders; may be empty."""
    lines = _validation(message) or telling_lines(message)
    text = "\n".join(line[:_LINE] for line in lines[:_LINES])
    for mask, replacement in _MASKS:
        text = mask.sub(replacement, text)
    patterns = dict.fromkeys(line.strip(" \t.*") for line in _TOKEN.sub(_token, text).split("\n"))
    text = "\n".join([line for line in patterns if _says_something(line)][:_KEPT])
    for mask, replacement in _AFTERWARDS:
        text = mask.sub(replacement, text)
    return text


def _says_something(line: str) -> bool:
    words = _PLACEHOLDER.sub("", line)
    return words.strip(" :.") not in _STATUSES and any(map(str.isalpha, words))


_PLACEHOLDER: Final = re.compile(r"<[a-z]+>")
_STATUSES: Final = frozenset({"error", "failed", "failure", "timeout", "cancelled", "rejected"})

# FastAPI's response to an invalid request: a list of errors, each with the input.
_FIELD: Final = re.compile(
    r"""["']loc["']: ?[\[(]([^\])]{0,200})[\])]|["']msg["']: ?["'](.{0,200}?)["'](?=[,}])"""
)


def _validation(message: str) -> Sequence[str]:
    """Return the invalid fields of a request and the reasons, if that is what a text contains."""
    begin = message[:4096]
    if "loc" not in begin or "msg" not in begin:
        return ()
    found = [(loc, text.lower()) for loc, text in _FIELD.findall(begin)]
    places = [place for place, (loc, _) in enumerate(found) if loc][:_KEPT]
    return [
        " ".join(
            (
                re.sub(r"[\"' ]", "", found[place][0]),
                *(text for _, text in found[place + 1 : place + 2]),
            )
        )
        for place in places
    ]


# Names in the places where tools put them ---------------------------------------------------------

_WORD: Final = r"""['"`]?[^\s'"`,;()\[\]<>]{0,100}[^\s'"`,;:.()\[\]<>]['"`]?"""
_BEFORE: Final = r"(?<!\S)"  # matching starts at the beginning of a word only: linear time
_SUBJECTS: Final = (
    r"(?:device profile|profile|device|board|model|target|subtarget|version|branch|release|distro"
    r"|distribution)"
)


def _replace(expression: str, replacement: str) -> tuple[re.Pattern[str], str]:
    return re.compile(expression, re.MULTILINE), replacement


_MASKS: Final = (
    # Class names of exceptions do not say what happened.
    _replace(r"^(?:(?:[a-z_][\w.]{0,80}exception|(?:[\w.]{0,80}\.)?(?:runtime)?error): ){1,3}", ""),
    _replace(r"^(?:[a-z_]\w{0,40}\.){1,5}(?=\w{0,40}error: )", ""),
    _replace(r"\binncorrect\b", "incorrect"),
    _replace(r"\bmake\[\d+\]", "make"),
    _replace(r"\b\d{4}-\d\d-\d\d[t ]\d\d:\d\d:\d\d(?:[.,]\d+)?z?", "<time>"),
    # Packages
    _replace(r"\b(missing|conflicts) \([^)\n]*\)?", r"\1 (<package>)"),
    _replace(r"^ *\S+ \(no such package\)", "<package> (no such package)"),
    _replace(r"\b(required by|satisfies|conflicts|breaks): \S.*", r"\1: <package>"),
    _replace(r"^[\w.+~-]+-r\d+: ", "<package>: "),
    _replace(rf"\bowned by {_WORD}", "owned by <package>"),
    _replace(
        rf"\b(unknown package|install package|find package|for package|provided by package \*|"
        rf"packages for|dependencies for|dependency|conflict with|nothing provides) {_WORD}",
        r"\1 <package>",
    ),
    _replace(rf"\bpackage {_WORD} (wants|is missing)\b", r"package <package> \1"),
    _replace(r"\b(package\(s\)|no such package): \S.*", r"\1: <package>"),
    _replace(
        rf"{_BEFORE}{_WORD} version not as requested: \S+ vs\. \S+",
        "<package> version not as requested: <version> vs. <version>",
    ),
    _replace(rf"{_BEFORE}{_WORD} not in manifest", "<package> not in manifest"),
    # What a request asked for
    _replace(
        rf"\b(unsupported|unknown|invalid) ({_SUBJECTS}(?: format)?): .*?(?=\. |\.?$)",
        r"\1 \2: <name>",
    ),
    _replace(rf"\b(unsupported|unknown|invalid) ({_SUBJECTS}) [\w/.\"-]+$", r"\1 \2 <name>"),
    _replace(rf"^({_SUBJECTS}) {_WORD} (is|not|does)\b", r"\1 <name> \2"),
    _replace(r"\brepository not allowed: .*", "repository not allowed: <url>"),
    _replace(r"\breceived incorrect version \S+", "received incorrect version <version>"),
    _replace(r"\(requested [^)\n]+\)", "(requested <version>)"),
    # Places
    _replace(r"\b[a-z][a-z0-9+.]{1,11}://[^\s'\"<>()\[\]{},;]*[^\s'\"<>()\[\]{},;:.]", "<url>"),
    _replace(r"(?<![\w./-])[\w-]+(?:\.[\w-]+){0,8}:\d+(?:/[\w.-]+)+(?::[\w.-]*\w)?", "<image>"),
    _replace(r"(?<![\w./-])[\w.-]{1,100}(?:/[\w.-]+)+:(?!\d+\b)[\w.-]*\w", "<image>"),
    _replace(r"\b(reading manifest|imagebuilder) [\w.-]+ in\b", r"\1 <name> in"),
    _replace(r"(?<![\w<.~-])(?:\.{1,2}|~)?/[\w.+@~%-][\w.+@~%/-]*", "<path>"),
    _replace(r"(?<![\w./<-])[\w.+@~-]{1,100}/[\w.+@~-]+/[\w.+@~/-]+", "<path>"),
    _replace(r"(?<![\w./<-])(?=[a-z/+]{0,100}[\d._@~-])[\w.+@~-]{1,100}/[\w.+@~-]+", "<path>"),
    _replace(r"<path>(?::\d+)+", "<path>"),
    _replace(r"\blookup [\w.-]+", "lookup <host>"),
    _replace(r"\b[a-z][\w.-]{0,100}:\d+\b", "<host>"),
    # Things with a name that says nothing
    _replace(
        r"\b(session|container|exec|job|image|layer|build|request|commit) "
        r"(?=[a-f]{0,64}\d|[a-f]{8})[0-9a-f]{4,}\b",
        r"\1 <hash>",
    ),
    _replace(rf"\bwith name or id {_WORD}(?=:| |$)", "with name or id <name>"),
    _replace(r"\bcharacter '[^\n]{1,6}?'", "character <name>"),
    _replace(r"\binput_value=.*?, input_type", "input_value=<value>, input_type"),
    _replace(r"(?<=[\s(\[])-(?=\d)", ""),
)
_AFTERWARDS: Final = (
    _replace(r"<package>(?:[,*\s]+<package>)+", "<package>"),
    _replace(r"<number>(?:[:.-]<number>)+", "<number>"),
    _replace(r"""(['"`])<([a-z]+)>\1""", r"<\2>"),
)

# Any other word ---------------------------------------------------------------------------------

_TOKEN: Final = re.compile(r"<[a-z]+>|(['\"`])([\w.+@:~-]{1,100})\1|\w[\w.+~@-]*\w|\d")
_KNOWN_WORDS: Final = frozenset(
    word
    for rule in RULES
    for phrase in (*rule.phrases, *rule.near, *rule.where)
    for word in re.findall(r"[\w.-]*[a-z][\w.-]*", phrase)
) | {
    *(
        "none",
        "nonetype",
        "object",
        "str",
        "int",
        "float",
        "bool",
        "dict",
        "list",
        "tuple",
        "bytes",
    ),
    *("group", "groups", "required", "type", "body", "version", "target", "profile", "packages"),
    *("packages_versions", "client", "filesystem", "distro", "squashfs", "ext4", "info", "image"),
    "manifest",
}
_QUANTITY: Final = re.compile(r"(?:\d+(?:[.,]\d+)*[a-z]{0,3})+")
_VERSION: Final = re.compile(r"(?:v|r)?\d[\w~+]*(?:[._~+-]\w+)+")
_HASH: Final = re.compile(r"(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f-]{6,}|0x[0-9a-f]+|[0-9a-f]{24,}")
_HOST: Final = re.compile(
    r"[\w-]+(?:\.[\w-]+)*\.(?:com|org|net|io|dev|de|eu|top|xyz|cn|ru|uk|lan|local|internal)"
)
_FILE: Final = re.compile(
    r"[\w.+~-]+\.(?:bin|itb|img|gz|xz|bz2|zst|tar|tgz|zip|ipk|apk|adb|json|sig|mk|py|go|c|h|o|so"
    r"|ext4|squashfs|conf|cnf|db|sock|lock|log|txt|pem|crt|key|ko|dtb|efi|iso|vmdk)"
)
_PACKAGE: Final = re.compile(r"(?:kmod|luci|lib|python3|perl|collectd-mod|wpad|hostapd)-[\w.+-]+")
_KINDS: Final[Sequence[tuple[Callable[[str], object], str]]] = (
    (re.compile(r"\d+").fullmatch, "<number>"),
    (_HASH.fullmatch, "<hash>"),
    (_QUANTITY.fullmatch, "<number>"),
    (_VERSION.fullmatch, "<version>"),
    (_PACKAGE.fullmatch, "<package>"),
    (_FILE.fullmatch, "<file>"),
    (_HOST.fullmatch, "<host>"),
    (re.compile(r"\d").search, "<name>"),
)


def _token(match: re.Match[str]) -> str:
    """Return a word, or the placeholder that replaces it."""
    quote, quoted = match.groups()
    if quoted:
        after = match.string[match.end() : match.end() + 7]
        if quoted in _KNOWN_WORDS or after == " object":
            return match[0]
        return f"{quote}{_kind(quoted, '<name>')}{quote}"
    word = match[0]
    return word if word[0] == "<" or word in _KNOWN_WORDS else _kind(word, word)


@lru_cache(maxsize=4096)
def _kind(word: str, otherwise: str) -> str:
    return next((kind for fits, kind in _KINDS if fits(word)), otherwise)


# Packages ---------------------------------------------------------------------------------------

_NAME: Final = r"([A-Za-z0-9][A-Za-z0-9+._~-]{0,99})"
_BUILT: Final = r"([A-Za-z0-9][A-Za-z0-9+._-]{0,99}?)-\d[\w.~]{0,60}(?:-r\d+)?"
# How package managers name a package: a text to search for, and the line around it.
_PACKAGES: Final = tuple(
    (mark, re.compile(pattern))
    for mark, pattern in (
        ("missing (", rf"missing \({_NAME}"),
        ("conflicts (", rf"conflicts \({_NAME}"),
        ("(no such package)", rf"^\s*{_NAME} \(no such package\)"),
        ("nown package", rf"[Uu]nknown package(?:\(s\):)? '?{_NAME}"),
        ("nsupported package", rf"[Uu]nsupported package(?:\(s\):)? '?{_NAME}"),
        ("annot install package", rf"annot install package {_NAME}"),
        ("find package", rf"find package '?{_NAME}"),
        (" is missing", rf"Package {_NAME} is missing"),
        ("wants to install", rf"Package {_NAME} wants to install"),
        ("nothing provides", rf"nothing provides '?{_NAME}"),
        ("dependencies for", rf"dependencies for {_NAME}"),
        ("cannot find dependency", rf"cannot find dependency {_NAME}"),
        ("ackages for", rf"Packages for {_NAME} found"),
        ("conflict with", rf"conflict with {_NAME}"),
        ("for package", rf"for package {_NAME}"),
        ("version not as requested", rf"{_NAME} version not as requested"),
        ("not in manifest", rf"{_NAME} not in manifest"),
        ("trying to overwrite", rf"{_BUILT}: trying to overwrite"),
        ("ADB integrity error", rf"{_BUILT}: ADB integrity error"),
        ("unable to select packages", r"(?!)"),
    )
)
_SELECTED: Final = re.compile(rf"^\s+{_BUILT}:$")
_WITH_VERSION: Final = re.compile(r"(?<=.)-\d[\w.~+]{0,80}-r\d+$")
_READ: Final = 16 * 1024
_PLACES: Final = 3


def package_of(message: str | None) -> str | None:
    """Return the package that an error names first, `None` if it names none."""
    text = (message or "")[:_READ]
    found = min((found for mark, fits in _PACKAGES if (found := _named(text, mark, fits))),
                default=None)  # fmt: skip
    return _WITH_VERSION.sub("", found[1].rstrip(".")) if found else None


def _named(text: str, mark: str, fits: re.Pattern[str]) -> tuple[int, str] | None:
    """Return the first place of `mark` whose line names a package, and the package."""
    place = text.find(mark)
    for _ in range(_PLACES):
        if place < 0:
            break
        begin, end = text.rfind("\n", 0, place) + 1, text.find("\n", place)
        end = len(text) if end < 0 else end
        if match := fits.search(text[max(begin, place - 200) : min(end, place + 300)]):
            return place, match[1]
        following = text[end + 1 : end + 300].partition("\n")[0]
        if match := _SELECTED.match(following):
            return end + 1, match[1]
        place = text.find(mark, place + len(mark))
    return None
