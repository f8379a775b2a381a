"""Finding known values in text, in whatever clothes they come: base64, hex, and every usual kind of escaping.

A form that stands alone (``c2VjcmV0``) and one that is part of a longer text (in base64 at three different alignments)
are both found. What is not: a value that was compressed, encrypted, or taken apart into single characters.
"""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
from bisect import bisect_right
from collections.abc import Collection, Iterator
from urllib.parse import quote, quote_plus

__all__ = ["MASK", "Finder", "forms", "pem_pieces"]

MASK = "********"
_MIN = 6  # a shorter form would blank out ordinary words
_PIECE = 16
_PEM = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----(.*?)-----END [A-Z0-9 ]*PRIVATE KEY-----", re.DOTALL)
# What is a secret by its shape: a swarm's join tokens are made by the engine, and another process may show them first.
_SHAPE = re.compile(r"SWMTKN-1-[0-9a-z]{40,60}-[0-9a-z]{20,30}")
_SHAPE_BEGUN = re.compile(r"SWMTKN-1-[0-9a-z]{0,60}(?:-[0-9a-z]{0,29})?")
_SHAPE_START, _SHAPE_LENGTH = "SWMTKN-1-", 101


def _base64(data: bytes) -> Iterator[str]:
    """Yield data as Base64: in both alphabets, whole, and as it reads at each of three places within a longer text."""
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        whole = encode(data).decode()
        yield whole
        yield whole.rstrip("=")
        for shift in range(3):
            text = encode(b"\0" * shift + data).decode()
            # A character counts when all its six bits are the value's own, not its neighbours'.
            yield text[(0, 2, 3)[shift] : (shift + len(data)) * 8 // 6]


def _escaped(value: str) -> Iterator[str]:
    yield value
    plain, wide = json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]
    yield from (
        plain,
        wide,
        json.dumps(plain)[1:-1],
        json.dumps(wide, ensure_ascii=False)[1:-1],
        plain.replace("/", "\\/"),
    )
    yield repr(value)[1:-1]
    yield repr(value.encode("utf-8", "surrogatepass"))[2:-1]
    data = value.encode("utf-8", "surrogatepass")
    for text in (quote(data, safe=""), quote(data), quote_plus(data)):
        yield text
        yield re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), text)
    for text in (html.escape(value), html.escape(value, quote=False)):
        yield text
        yield text.replace("&#x27;", "&#39;").replace("&quot;", "&#34;")
        yield text.replace("&#x27;", "&apos;")
    yield shlex.quote(value).removeprefix("'").removesuffix("'")
    yield value.replace("'", "'\\''")
    yield re.sub(r"([^\w@%+=:,./-])", r"\\\1", value)  # printf %q
    yield re.sub(r'([\\"$`])', r"\\\1", value)  # within double quotes
    yield value.replace("'", "''")
    yield value.replace("\\", "\\\\").replace("'", "\\'")


def forms(value: str) -> set[str]:
    """Return every text in which a value could come out.

    Args:
        value: A secret.
    """
    data = value.encode("utf-8", "surrogatepass")
    found = {value, *_escaped(value), *_base64(data), data.hex(), data.hex().upper()}
    if len(value) % 4 == 0 and re.fullmatch(r"[A-Za-z0-9+/]{16,}={0,2}", value) and re.search(r"[+/=]", value):
        raw = base64.b64decode(value)  # a key that is written in base64: the same key in other clothes
        found |= {value.rstrip("="), base64.urlsafe_b64encode(raw).decode().rstrip("="), raw.hex(), raw.hex().upper()}
    return {form for form in found if len(form) >= _MIN}


def pem_pieces(text: str) -> set[str]:
    """Cut the body of every private key in a text into pieces that are found wherever its lines are broken.

    Args:
        text: The content of a key file.
    """
    pieces: set[str] = set()
    for block in _PEM.finditer(text):
        lines = [line.strip() for line in block[1].splitlines() if line.strip() and ":" not in line]
        body = "".join(lines)
        pieces.update(line for line in lines if len(line) >= _PIECE)
        pieces.update(body[at : at + _PIECE] for at in range(0, len(body) - _PIECE + 1, _PIECE))
        if len(body) >= _PIECE:
            pieces.add(body[-_PIECE:])
    # The name of the kind of key reads the same in every certificate, and is no secret.
    return {
        piece
        for piece in pieces
        if len(piece) > _PIECE or not any(word in piece for word in ("KoZIzj0", "qGSM49", "hkjOP"))
    }


def _within_a_name(text: str, start: int, end: int, names: Collection[str]) -> bool:
    """Tell whether what stands between two places is, or is part of, a name: the longest run of a name's characters around it."""
    if not names or not all(_of_a_name(character) for character in text[start:end]):
        return False
    while start and _of_a_name(text[start - 1]):
        start -= 1
    while end < len(text) and _of_a_name(text[end]):
        end += 1
    whole = text[start:end].strip(".-")
    return whole in names


def _of_a_name(character: str) -> bool:
    return character.isalnum() or character in "_.-"


class Finder:
    """Mask what it was given to find. Not safe to change from several threads.

    Plain substring search: for the few hundred needles of a cluster that is four times as fast as one regular
    expression over all of them, and there is nothing to compile when a secret is added.
    """

    def __init__(self) -> None:
        self._needles: set[str] = set()
        self._probes: list[str] = []
        self._sorted: list[str] = []
        self.longest = _SHAPE_LENGTH

    def add(self, needles: Collection[str]) -> None:
        """Find these too.

        Args:
            needles: Forms of one value.
        """
        new = sorted(set(needles) - self._needles, key=len)
        self._needles.update(new)
        self.longest = max(self.longest, *map(len, new), 0) if new else self.longest
        probes: list[str] = []
        for needle in new:  # what contains another form of the same value need not be looked for itself
            if not any(probe in needle for probe in probes):
                probes.append(needle)
        self._probes += probes
        self._sorted = []

    def mask(self, text: str, names: Collection[str] = ()) -> str:
        """Replace everything that is found in a text; what overlaps is one.

        Args:
            text: The text.
            names: What stays as it is where it stands whole, whatever it contains.
        """
        return self.cut(text, 0, names)[0]

    def spans(self, text: str, names: Collection[str] = ()) -> list[tuple[int, int]]:
        """List where in a text something is found, in order, overlaps joined; not within a name that stands whole."""
        found: list[tuple[int, int]] = []
        if _SHAPE_START in text:
            found += [match.span() for match in _SHAPE.finditer(text)]
        if "PRIVATE KEY-----" in text:
            found += [match.span(1) for match in _PEM.finditer(text) if match[1]]
        if any(probe in text for probe in self._probes):
            for needle in self._needles:
                at = text.find(needle)
                while at >= 0:
                    if not _within_a_name(text, at, at + len(needle), names):
                        found.append((at, at + len(needle)))
                    at = text.find(needle, at + 1)
        joined: list[tuple[int, int]] = []
        for start, end in sorted(found):
            if joined and start < joined[-1][1]:
                joined[-1] = (joined[-1][0], max(joined[-1][1], end))
            else:
                joined.append((start, end))
        return joined

    def cut(self, text: str, keep: int, names: Collection[str] = ()) -> tuple[str, str]:
        """Return the masked text without its last characters, and those as they are; a finding is never cut in two."""
        at = len(text) - keep
        done, parts = 0, []
        for start, end in self.spans(text, names):
            if end > at:
                at = min(at, start)
                break
            parts += [text[done:start], MASK]
            done = end
        return ("".join([*parts, text[done:at]]), text[at:]) if parts or at < len(text) else (text, "")

    def open_end(self, text: str) -> int:
        """Count the last characters that could be the beginning of something longer."""
        if not self._sorted:
            self._sorted = sorted(self._needles)
        for start in range(max(0, len(text) - self.longest + 1), len(text)):
            tail = text[start:]
            at = bisect_right(self._sorted, tail)
            if at < len(self._sorted) and self._sorted[at].startswith(tail):
                return len(text) - start
            if tail[0] == "S" and (_SHAPE_START.startswith(tail) or _SHAPE_BEGUN.fullmatch(tail)):
                return len(text) - start
        return 0
