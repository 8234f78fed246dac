"""Where the secrets are in the text of a settings file, so that they can be erased and all the rest stays.

Responsible for: finding the values of secret keys, and what repeats them in comments. TOML 1.0 is scanned just as far
as that needs: strings, comments, keys; ``tomllib`` has judged the text before. Not for: erasing.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Literal, NamedTuple

from appliance.logs import SECRETS

SECRET_KEYS = frozenset({"password", "enrolment_token"})
ERASED = "***"  # stands where a secret was; read again it means: as it was
SHORTEST = 8  # of a secret: what is shorter is no password
_COMMENTED_OUT = re.compile(rf"(?:{'|'.join(sorted(SECRET_KEYS))})\s*=\s*([\"'])([^\"']{{{SHORTEST},}})\1")
_TOKEN = re.compile(r"\"\"\"|'''|[\"'#=\n{}\[\],]|[A-Za-z0-9_-]+")


class Span(NamedTuple):
    """Characters ``start`` to ``end`` of a text."""

    start: int
    end: int


class _Found(NamedTuple):
    kind: Literal["comment", "string", "word", "mark"]
    span: Span  # of a string what is between its quotes
    text: str


def is_erased(value: str) -> bool:
    """Say whether this stands where a secret was erased."""
    return bool(value) and not value.strip("*")


def secrets(text: str) -> list[Span]:
    """Find every secret in ``text``, which must be TOML; in order, none within another."""
    found, comments = _scan(text)
    values = [token.span for token in found]
    known = {secret for token in found for secret in (token.text, text[slice(*token.span)]) if len(secret) >= SHORTEST}
    for start, end in comments:
        values += [Span(start + m.start(2), start + m.end(2)) for m in _COMMENTED_OUT.finditer(text[start:end])]
        repeated = "|".join(re.escape(secret) for secret in sorted(known, key=len, reverse=True))
        for pattern in (SECRETS.pattern, repeated):
            if pattern:
                values += [Span(start + m.start(), start + m.end()) for m in re.finditer(pattern, text[start:end])]
    merged: list[Span] = []
    for span in sorted(span for span in values if span.end > span.start):
        if merged and span.start < merged[-1].end:
            merged[-1] = Span(merged[-1].start, max(span.end, merged[-1].end))
        else:
            merged.append(span)
    return merged


def without_secrets(text: str) -> str:
    """Write ``text`` with :data:`ERASED` in the place of each secret. Doing it again changes nothing."""
    parts, last = [], 0
    for span in secrets(text):
        parts += [text[last : span.start], ERASED]
        last = span.end
    return "".join((*parts, text[last:]))


def _scan(text: str) -> tuple[list[_Found], list[Span]]:
    """Find the values of secret keys, and the comments."""
    values: list[_Found] = []
    comments: list[Span] = []
    key = last = ""
    for found in _tokens(text):
        if found.kind == "comment":
            comments.append(found.span)
        elif found.kind == "mark":
            key, last = (last if found.text == "=" else ""), ""
        else:
            if found.kind == "string" and key in SECRET_KEYS:
                values.append(found)
            key, last = "", found.text
    return values, comments


def _tokens(text: str) -> Iterator[_Found]:
    at = 0
    while found := _TOKEN.search(text, at):
        start, mark = found.span()[0], found.group()
        at = found.end()
        if mark == "#":
            at = end if (end := text.find("\n", start)) >= 0 else len(text)
            yield _Found("comment", Span(start, at), "")
        elif mark[0] in "\"'":
            end = _string_end(text, at, mark)
            raw, at = text[start : end + len(mark)], end + len(mark)
            yield _Found("string", Span(start + len(mark), end), _value(raw))
        elif len(mark) == 1 and mark in "=\n{}[],":
            yield _Found("mark", Span(start, at), mark)
        else:
            yield _Found("word", Span(start, at), mark)


def _string_end(text: str, at: int, quote: str) -> int:
    """Find where the closing quotes begin. Up to two quotes more may stand before those of a long string."""
    while not text.startswith(quote, at):
        at += 2 if text[at] == "\\" and quote[0] == '"' else 1
    while len(quote) == 3 and text.startswith(quote, at + 1):
        at += 1
    return at


def _value(raw: str) -> str:
    found = tomllib.loads(f"x = {raw}")["x"]
    assert isinstance(found, str)
    return found
