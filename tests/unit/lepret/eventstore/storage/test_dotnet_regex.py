"""What .NET's regular expressions mean, which are valid there, and which are not translated."""

from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import given, strategies

from lepret.eventstore.storage.dotnet_regex import (
    InvalidPattern,
    UnsupportedPattern,
    translated,
)
from lepret.eventstore.storage.filters import by_regex

ATOMS = ["a", "b", "[ab]", "[^a]", ".", r"\n", "(a|b)", "(?:ab)", "(?i:A)", "(b|)", "[a-c]"]


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("(?i)cf.*", ["CfA", "xCF"], ["C-f"]),
        ("a(?i)b|C", ["aB", "c"], ["AB"]),
        ("(?i:a)b", ["Ab"], ["AB"]),
        ("(?i)a(?-i)b", ["Ab"], ["AB"]),
        ("(?s).", ["\n"], [""]),
        ("^.$", ["a", "a\n"], ["\n", "🎉"]),
        ("^..$", ["🎉"], ["a"]),
        ("^[🎉]{2}$", ["🎉", "🎉\n"], ["ab"]),
        ("(?m)^b$", ["a\nb\nc"], ["ab"]),
        (r"a\Z", ["a", "a\n"], ["ab"]),
        (r"a\z", ["a"], ["a\n"]),
        (r"^\p{L}+$", ["aß型"], ["a1"]),
        (r"^\P{L}$", ["1"], ["a"]),
        (r"^\d$", ["1", "٣"], ["a", "²"]),
        (r"^\w+$", ["a_1ß型"], ["a-b"]),
        (r"^[\w.-]+$", ["ü.b-c"], ["a b"]),
        (r"^\W$", ["-"], ["ä"]),
        (r"^[\Wa]$", ["-", "a"], ["b"]),
        (r"^[^\W]$", ["ä"], ["-"]),
        (r"^\s$", [" ", "\u00a0", "\u0085"], ["a"]),
        ("(?<n>C)f(?'m'.)(?<1>.)", ["Cfab"], ["Cf"]),
        ("a(?#comment)b", ["ab"], ["a"]),
        ("[[:alpha:]]", ["a]", "[]", ":]"], ["a", "b]"]),
        ("^[a-zA-Z-[x]]+$", ["abZ"], ["axb", "a-b"]),
        ("^[a-z-[m-z-[x]]]+$", ["alx"], ["m", "y"]),
        ("^[^a-z-[0-9]]$", ["A", "-"], ["a", "5"]),
        ("^[]a]$", ["]", "a"], ["b"]),
        ("^[^]a]$", ["b"], ["]", "a"]),
        (r"^[a\-z]$", ["a", "-", "z"], ["b"]),
        ("^[a-]$", ["a", "-"], ["b"]),
        (r"^[\b]$", ["\b"], ["b"]),
        (r"^\x41\u00e9\cA\012\e$", ["Aé\x01\n\x1b"], ["Aé"]),
        ("^a{,2}$", ["a{,2}"], ["aa"]),
        ("^a{2,}?b{1}{$", ["aab{"], ["ab{"]),
        (r"^\{\}\.$", ["{}."], ["{}a"]),
        ("^(?!a|b$)..$", ["cd", "ba"], ["ab", "c"]),
        ("^(?!.*x)(?=a).+", ["ab"], ["abx", "b"]),
        ("|a", ["", "b"], []),
    ],
)
def test_what_they_mean(pattern: str, matching: list[str], others: list[str]) -> None:
    matches = by_regex(pattern)
    assert [text for text in [*matching, *others] if matches(text)] == matching


@pytest.mark.parametrize(
    "pattern",
    [
        "(", ")", "a)", "[", "[a", "[z-a]", r"[a-\d]", "[a-z-[x]b]", "[]", "\\",
        "*", "a|*", "(*a)", "(?i)*", "C++", "a**", "a{2}{3}", "a{3,2}",
        "(?P<n>a)", "(?<>a)", "(?<0>a)", "(?<1n>a)", "(?<n", "(?'n>a)", "(?z)", "(?", "(?i", "(?#a",
        r"\q", r"\_", r"\ä", r"\x4", r"\u12", r"\x{41}", r"\c1", r"\pL", r"\p{Greek}",
        r"\p{L", r"\p{}",
    ],
)  # fmt: skip
def test_what_net_refuses(pattern: str) -> None:
    with pytest.raises(InvalidPattern):
        translated(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        r"(a)\1", r"(?<n>a)\k<n>", "a(?=b)", "(?<=a)b", "(?<!a)b", "a(?!b)", "(?>a)", "(?(a)b|c)",
        "(?<a-b>c)", r"\bword", r"\B", r"\G", "(?x) a b", r"\p{IsGreek}", r"\p{Cs}", r"\p{Cn}",
        r"[^\W\d]", r"[\w-[a]]", "(?i)[a-z-[x]]", r"(?i)\p{Lu}", "[[::]]", "^*", "a$b", r"(a$|b)\n",
        "(a$)*", "^(?!a)|b", "[a-" * 20 + "b" + "]" * 20,
    ],
)  # fmt: skip
def test_what_is_not_translated(pattern: str) -> None:
    with pytest.raises(UnsupportedPattern):
        translated(pattern)


@given(
    strategies.lists(
        strategies.sampled_from([*ATOMS, "|"])
        | strategies.tuples(
            strategies.sampled_from(ATOMS),
            strategies.sampled_from(["*", "+?", "{2}", "{1,2}", "?"]),
        ).map("".join),
        max_size=8,
    ).map("".join),
    strategies.text("abAB\n", max_size=6),
)
def test_plain_ones_mean_what_they_mean_elsewhere(pattern: str, text: str) -> None:
    assert by_regex(pattern)(text) == (re.search(pattern, text) is not None)


@given(strategies.text("ab()|[]*+?{},0123\\^$.:=!<>'PpnLdwWs-imsx#&🎉é", max_size=30))
def test_any_expression_is_translated_to_what_re2_takes_or_refused(pattern: str) -> None:
    with contextlib.suppress(InvalidPattern, UnsupportedPattern):
        by_regex(pattern)("ab\n🎉")
