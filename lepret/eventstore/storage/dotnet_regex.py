"""Regular expressions in .NET's syntax, as EventStoreDB takes them, translated to RE2's.

Only what means the same in both is translated. .NET's engine sees UTF-16, so both the expression
and the texts that it is matched with go through `utf16`.
"""

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from lepret.eventstore.storage.character_classes import SHORTHANDS, CharacterClass


class InvalidPattern(ValueError):
    """.NET would refuse the expression."""

    def __init__(self) -> None:
        super().__init__("The filter's regular expression is not valid in .NET's syntax.")


class UnsupportedPattern(ValueError):
    """The expression may be valid in .NET, but is not translated."""

    def __init__(self) -> None:
        super().__init__(
            "The filter's regular expression cannot be translated to RE2, or is too large: among"
            " others, there are no back-references, no word boundaries, and no lookarounds but"
            " lookaheads that follow a ^ at its beginning."
        )


class Translated(NamedTuple):
    """An expression in RE2's syntax. A text must match it, and the lookaheads as they say."""

    pattern: str
    lookaheads: tuple[tuple[str, bool], ...] = ()
    """What must match, or must not."""


def translated(pattern: str) -> Translated:
    """Translate an expression. Raises InvalidPattern, UnsupportedPattern."""
    return _Translation(utf16(pattern)).whole()


def utf16(text: str) -> str:
    """A text with one character for each unit of UTF-16, as .NET sees it.

    RE2 takes no surrogates, so they are moved to plane 15, which is private.
    """
    if text.isascii() or max(text) < "\U00010000":
        return text
    return _ASTRAL.sub(lambda found: _moved_surrogates(ord(found[0]) - 0x10000), text)


def _moved_surrogates(offset: int) -> str:
    return chr(_unit(0xD800 + (offset >> 10))) + chr(_unit(0xDC00 + (offset & 0x3FF)))


def _unit(code: int) -> int:
    return 0xF0000 + code if code in _SURROGATES else code


_SURROGATES = range(0xD800, 0xE000)
_ASTRAL = re.compile("[\U00010000-\U0010ffff]")
_CATEGORIES = re.compile("C[cf]|L[lmotu]?|M[cen]?|N[dlo]?|P[cdefios]?|S[ckmo]?|Z[lps]?")
_OTHER_CATEGORIES = re.compile(r"C|Cn|Co|Cs|Is[\w-]+")
"""RE2 does not know these, or not with moved surrogates."""
_CASED = {"Ll", "Lt", "Lu"}

_CONTROLS = {"a": 7, "b": 8, "t": 9, "n": 10, "v": 11, "f": 12, "r": 13, "e": 27}
_CODED = re.compile(r"x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})")
_OCTAL = re.compile(r"[0-7]{1,3}")
_CONTROL_KEY = re.compile(r"c([@-_a-z])")
_NAMED_CLASS = re.compile(r"\\([dDsSwWpP])")
_CATEGORY = re.compile(r"\{([\w-]+)\}")
_QUANTIFIER = re.compile(r"(?:[*+?]|\{([0-9]+)(?:(,)([0-9]*))?\})")
_NAMED = re.compile(r"<(?:[1-9][0-9]*|[^\W\d]\w*)>|'(?:[1-9][0-9]*|[^\W\d]\w*)'")
_NOT_IN_RE2 = re.compile(r"=|!|>|\(|<=|<!|[<']\w*-\w+[>']")
"""After `(?`: what looks around, does not go back, has conditions or balances."""
_OPTIONS = re.compile(r"[imnsx+-]*")
_END = r"(?:\n?\z)"

_DEEPEST = 10
"""How deep classes may be nested that take from each other."""


@dataclass(slots=True)
class _Group:
    """What is open while an expression is read: a group in parentheses, or the whole."""

    options: frozenset[str]
    """Those that hold where it was opened, and again where it is closed."""
    branches: int = 1
    at_end: bool = False
    """Whether the current branch has passed a `$`."""
    has_end: bool = False
    """Whether any branch has."""


@dataclass(slots=True)
class _Translation:
    """Reads an expression from left to right, as .NET's parser does."""

    source: str
    at: int = 0
    out: list[str] = field(default_factory=list)
    options: frozenset[str] = frozenset()
    groups: list[_Group] = field(default_factory=list)

    def whole(self) -> Translated:
        lookaheads = tuple(self._lookaheads())
        self._read(until_closed=False)
        if lookaheads and self.groups[0].branches > 1:
            raise UnsupportedPattern
        return Translated("".join(self.out), lookaheads)

    def _lookaheads(self) -> list[tuple[str, bool]]:
        """Those after a ^ that begins the expression: so the Python clients exclude types."""
        if not self.source.startswith(("^(?!", "^(?=")):
            return []
        self.at = 1
        self.out.append(r"\A")
        found = []
        while self.source.startswith(("(?!", "(?="), self.at):
            ahead = _Translation(self.source, self.at + len("(?!"))
            ahead._read(until_closed=True)
            found.append((rf"\A(?:{''.join(ahead.out)})", self.source[self.at + 2] == "="))
            self.at = ahead.at
            self._refuse_quantifier()
        return found

    def _read(self, *, until_closed: bool) -> None:
        """Translate to the end, or to the parenthesis that closes what was open before."""
        self.groups = [_Group(self.options)]
        while self.at < len(self.source):
            if self._has_quantifier():
                raise InvalidPattern  # It follows nothing, or another one.
            character = self._next()
            if character == ")" and until_closed and len(self.groups) == 1:
                return
            self._translate(character)
        if until_closed or len(self.groups) > 1:
            raise InvalidPattern

    def _translate(self, character: str) -> None:
        match character:
            case "(":
                self._open()
            case ")":
                self._close()
            case "|":
                self._begin_branch()
            case "^":
                self._assert("(?m:^)" if "m" in self.options else r"\A")
            case "$" if "m" in self.options:
                self._assert("(?m:$)")
            case "$":
                self._assert_end()
            case ".":
                self._atom("(?s:.)" if "s" in self.options else r"[^\n]")
            case "[":
                self._atom(_expressed(self._class()))
            case "\\":
                self._escape()
            case _:
                self._atom(re.escape(character))

    def _next(self) -> str:
        """The next character. Raises InvalidPattern at the end."""
        if self.at >= len(self.source):
            raise InvalidPattern
        self.at += 1
        return self.source[self.at - 1]

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Go past what matches here, if anything does."""
        found = pattern.match(self.source, self.at)
        if found is not None:
            self.at = found.end()
        return found

    # Atoms, assertions and how often ------------------------------------------------

    def _atom(self, translation: str) -> None:
        """Add what takes a character, with its quantifier."""
        if self.groups[-1].at_end:
            raise UnsupportedPattern  # In .NET, a line feed may come after a `$`.
        self.out.append(translation)
        self._repeat()

    def _assert(self, translation: str) -> None:
        """Add what takes no character."""
        if self.groups[-1].at_end:
            raise UnsupportedPattern
        self.out.append(translation)
        self._refuse_quantifier()

    def _assert_end(self) -> None:
        """Add the end of the text, or the place before a line feed there."""
        self._assert(_END)
        self._pass_end()

    def _pass_end(self) -> None:
        self.groups[-1].at_end = self.groups[-1].has_end = True

    def _refuse_quantifier(self) -> None:
        if self._has_quantifier():
            raise UnsupportedPattern

    def _has_quantifier(self) -> bool:
        return _QUANTIFIER.match(self.source, self.at) is not None

    def _repeat(self) -> None:
        """Add the quantifier of what was added last. Whether it is lazy decides no match."""
        found = self._take(_QUANTIFIER)
        if found is None:
            return
        least, _, most = found.groups()
        if least and most and int(least[:10]) > int(most[:10]):
            raise InvalidPattern
        self.out.append(found[0])
        if self.source.startswith("?", self.at):
            self.at += 1

    # Groups -------------------------------------------------------------------------

    def _begin_branch(self) -> None:
        self.groups[-1].branches += 1
        self.groups[-1].at_end = False
        self.out.append("|")

    def _open(self) -> None:
        if not self.source.startswith("?", self.at):
            self._begin_group()
            return
        self.at += 1
        if self._take(_NOT_IN_RE2):
            raise UnsupportedPattern
        if self.source.startswith("#", self.at):
            self._skip_comment()
        elif self.source.startswith(("<", "'"), self.at):
            self._open_named()
        else:
            self._set_options()

    def _skip_comment(self) -> None:
        end = self.source.find(")", self.at)
        if end < 0:
            raise InvalidPattern
        self.at = end + 1

    def _open_named(self) -> None:
        if self._take(_NAMED) is None:
            raise InvalidPattern
        self._begin_group()

    def _set_options(self) -> None:
        """Options for a group of their own, or for the rest of the group that is open."""
        before = self.options
        found = self._take(_OPTIONS)
        self.options = _with_options(before, found[0] if found else "")
        match self._next():
            case ":":
                self._begin_group(before)
            case ")":
                self.out.append("(?i)" if "i" in self.options else "(?-i)")
            case _:
                raise InvalidPattern

    def _begin_group(self, options_after: frozenset[str] | None = None) -> None:
        if self.groups[-1].at_end:
            raise UnsupportedPattern
        self.groups.append(_Group(self.options if options_after is None else options_after))
        self.out.append("(?i:" if "i" in self.options else "(?-i:")

    def _close(self) -> None:
        if len(self.groups) == 1:
            raise InvalidPattern
        group = self.groups.pop()
        self.options = group.options
        self.out.append(")")
        if group.has_end:
            self._pass_end()
            self._refuse_quantifier()
        self._repeat()

    # Classes ------------------------------------------------------------------------

    def _class(self, depth: int = 0) -> CharacterClass:
        """What stands between brackets; the opening one has been read."""
        if depth > _DEEPEST:
            raise UnsupportedPattern
        items = CharacterClass(negated=self._past("^"))
        is_first = True
        while is_first or not self._past("]"):
            if not is_first and self._past("-["):
                return self._less(items, self._class(depth + 1))
            self._add_member(items)
            is_first = False
        return items

    def _less(self, items: CharacterClass, taken: CharacterClass) -> CharacterClass:
        if not self._past("]"):
            raise InvalidPattern
        if "i" in self.options or not items.is_plain or not taken.is_plain:
            raise UnsupportedPattern
        return items.without(taken)

    def _add_member(self, items: CharacterClass) -> None:
        """Add a character, a range or a named class."""
        if self._past("\\-"):
            items.ranges.append((ord("-"), ord("-")))
        elif not self._named_class(items):
            first = last = self._member()
            if self._continues_range():
                self.at += 1
                last = self._member()
            if last < first:
                raise InvalidPattern
            items.ranges.append((first, last))

    def _member(self) -> int:
        character = self._next()
        if character == "[" and self.source.startswith("::]", self.at):
            raise UnsupportedPattern  # .NET passes over it.
        return self._code() if character == "\\" else ord(character)

    def _continues_range(self) -> bool:
        rest = self.source[self.at : self.at + 2]
        return len(rest) == len("-z") and rest[0] == "-" and rest[1] not in "[]"

    def _past(self, text: str) -> bool:
        """Go past this text, if it stands here."""
        if not self.source.startswith(text, self.at):
            return False
        self.at += len(text)
        return True

    # Escapes ------------------------------------------------------------------------

    def _escape(self) -> None:
        character = self._next()
        match character:
            case "A":
                self._assert(r"\A")
            case "z":
                self._assert(r"\z")
            case "Z":
                self._assert_end()
            case "b" | "B" | "G" | "k" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9":
                raise UnsupportedPattern
            case _:
                self.at -= len("\\?")
                items = CharacterClass()
                self._add_escaped(items)
                self._atom(_expressed(items))

    def _add_escaped(self, items: CharacterClass) -> None:
        if not self._named_class(items):
            self.at += 1
            code = self._code()
            items.ranges.append((code, code))

    def _named_class(self, into: CharacterClass) -> bool:
        r"""Add a class such as \w or \p{L}, if one stands here."""
        found = self._take(_NAMED_CLASS)
        if found is None:
            return False
        name = found[1]
        if name in "pP":
            into.categories += rf"\{name}{{{self._category()}}}"
        elif name.islower():
            into.categories += SHORTHANDS[name]
        else:
            into.complements.append(SHORTHANDS[name.lower()])
        return True

    def _category(self) -> str:
        found = self._take(_CATEGORY)
        if found is None:
            raise InvalidPattern
        name = found[1]
        if _OTHER_CATEGORIES.fullmatch(name) or (name in _CASED and "i" in self.options):
            raise UnsupportedPattern
        if not _CATEGORIES.fullmatch(name):
            raise InvalidPattern
        return name

    def _code(self) -> int:
        """The character that is written after a backslash."""
        if coded := self._take(_CODED):
            return _unit(int(coded[1] or coded[2], 16))
        if octal := self._take(_OCTAL):
            return int(octal[0], 8) & 0xFF
        if key := self._take(_CONTROL_KEY):
            return ord(key[1].upper()) - ord("@")
        character = self._next()
        if character in _CONTROLS:
            return _CONTROLS[character]
        if character.isalnum() or character == "_":
            raise InvalidPattern
        return ord(character)


def _expressed(items: CharacterClass) -> str:
    """Raises UnsupportedPattern."""
    expressed = items.re2()
    if expressed is None:
        raise UnsupportedPattern
    return expressed


def _with_options(before: frozenset[str], changes: str) -> frozenset[str]:
    """The options after such as i-s. Raises UnsupportedPattern for x, which skips blanks."""
    options = set(before)
    change = options.add
    for character in changes:
        match character:
            case "+":
                change = options.add
            case "-":
                change = options.discard
            case _:
                change(character)
    if "x" in options:
        raise UnsupportedPattern
    return frozenset(options)
