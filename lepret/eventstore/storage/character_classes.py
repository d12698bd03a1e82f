"""Character classes of .NET's regular expressions, written in RE2's syntax."""

from collections.abc import Iterable
from dataclasses import dataclass, field

Ranges = list[tuple[int, int]]
"""Code points from the first to the second, both inclusive."""

_LAST = 0x10FFFF

SHORTHANDS = {"d": r"\p{Nd}", "s": r"\t-\r\x{85}\p{Z}", "w": r"\p{L}\p{Mn}\p{Nd}\p{Pc}"}
"""What .NET's shorthands stand for, as RE2 writes it within brackets. RE2's own know only ASCII."""


@dataclass(slots=True)
class CharacterClass:
    """What stands between brackets."""

    negated: bool = False
    ranges: Ranges = field(default_factory=list)
    categories: str = ""
    """What RE2 has a name for, as it is written within brackets."""
    complements: list[str] = field(default_factory=list)
    """What is taken from all characters, as in \\W; RE2 has no brackets within brackets."""

    @property
    def is_plain(self) -> bool:
        """Whether it consists of ranges only."""
        return not self.categories and not self.complements

    def without(self, other: "CharacterClass") -> "CharacterClass":
        """This class less another one; both must be plain."""
        return CharacterClass(ranges=_complement([*_complement(self.all), *other.all]))

    def re2(self) -> str | None:
        """The class in RE2's syntax; None if that cannot express it."""
        inside = "".join(map(_range, self.ranges)) + self.categories
        if not self.negated:
            return _either([f"[^{taken}]" for taken in self.complements], inside)
        if not self.complements:
            return f"[^{inside}]" if inside else "(?s:.)"
        return f"[{self.complements[0]}]" if len(self.complements) == 1 and not inside else None

    @property
    def all(self) -> Ranges:
        """The characters of a plain class."""
        return _complement(self.ranges) if self.negated else self.ranges


def _complement(ranges: Iterable[tuple[int, int]]) -> Ranges:
    found: Ranges = []
    begin = 0
    for first, last in sorted(ranges):
        if first > begin:
            found.append((begin, first - 1))
        begin = max(begin, last + 1)
    return [*found, (begin, _LAST)] if begin <= _LAST else found


def _range(limits: tuple[int, int]) -> str:
    first, last = limits
    return rf"\x{{{first:x}}}-\x{{{last:x}}}"


def _either(alternatives: list[str], inside: str) -> str:
    if inside:
        alternatives = [f"[{inside}]", *alternatives]
    if not alternatives:
        return r"[^\x{0}-\x{10ffff}]"
    return alternatives[0] if len(alternatives) == 1 else f"(?:{'|'.join(alternatives)})"
