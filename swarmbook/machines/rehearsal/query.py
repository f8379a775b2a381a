"""Object masks and object filters, as far as the SoftLayer client uses them.

Masks name what is wanted of an object, filters which objects are wanted (https://sldn.softlayer.com/article/object-masks/,
https://sldn.softlayer.com/article/object-filters/).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from swarmbook.machines.rehearsal.faults import ServiceError

__all__ = ["apply_mask", "ordered", "parse_mask", "select"]

#: What a mask asks for, by property.
Mask: TypeAlias = "dict[str, Mask]"
_TOKEN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[\[\],.]|\([^)]*\)")


def parse_mask(text: str) -> Mask:
    """Parse a mask into a tree of properties.

    Args:
        text: ``mask[a,b.c,d[e,f]]``, ``[a,b]`` or ``a,b``.

    Raises:
        ServiceError: It does not parse.
    """
    bare = re.sub(r"\s+", "", text)
    tokens = [token for token in _TOKEN.findall(bare) if not token.startswith("(")]
    if "".join(tokens) != re.sub(r"\([^)]*\)", "", bare):
        raise _malformed(text)
    if tokens[:1] == ["mask"]:
        tokens = tokens[1:]
        if tokens[:1] == ["."]:
            tokens = ["[", *tokens[1:], "]"]
    if tokens[:1] != ["["]:
        tokens = ["[", *tokens, "]"]
    mask, rest = _properties(tokens[1:], text)
    if rest:
        raise _malformed(text)
    return mask


def _properties(tokens: list[str], text: str) -> tuple[Mask, list[str]]:
    """Parse properties up to the bracket that closes them; return them, and what follows it."""
    mask: Mask = {}
    while tokens:
        name, tokens = tokens[0], tokens[1:]
        if name == "]":
            return mask, tokens
        if name == ",":
            continue
        if name in "[.":
            raise _malformed(text)
        at = mask.setdefault(name, {})
        while tokens[:1] == ["."] and len(tokens) > 1:
            at, tokens = at.setdefault(tokens[1], {}), tokens[2:]
        if tokens[:1] == ["["]:
            inner, tokens = _properties(tokens[1:], text)
            at.update(inner)
    raise _malformed(text)


def _malformed(text: str) -> ServiceError:
    return ServiceError("SoftLayer_Exception_Public", f"Object mask is malformed: {text[:200]}")


def apply_mask(value: Any, mask: Mask | None) -> Any:
    """Return what a mask leaves of an object, or of each object in a list.

    Local properties are the plain values, relational ones the objects behind it. No mask: the local ones. A mask that
    names relational properties only adds them to the local ones; the client's own masks count on that
    (``mask[prices]`` for presets whose ``keyName`` it then reads). A relational property without a mask of its own gives
    its local ones.
    """
    if isinstance(value, list):
        return [apply_mask(item, mask) for item in value]
    if not isinstance(value, Mapping):
        return value
    local = {key: item for key, item in value.items() if not isinstance(item, (Mapping, list)) and item is not None}
    if not mask:
        return local
    chosen = {key: apply_mask(value[key], inner) for key, inner in mask.items() if value.get(key) is not None}
    # A name that is not there (an address to come) was local all the same.
    if any(not inner and not isinstance(value.get(key), (Mapping, list)) for key, inner in mask.items()):
        return chosen
    return {**local, **chosen}


def select(items: Sequence[Mapping[str, Any]], criteria: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the objects that a filter lets through, in the order that it asks for."""
    return ordered([item for item in items if _fits(item, criteria)], criteria)


def ordered(items: list[Mapping[str, Any]], criteria: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Sort objects by the one property of the filter that says ``orderBy``."""
    for key, criterion in criteria.items():
        if isinstance(criterion, Mapping) and criterion.get("operation") == "orderBy":
            direction = str(_option(criterion, "sort")[0]).upper()
            return sorted(items, key=lambda item: item.get(key) or 0, reverse=direction == "DESC")
    return items


def _option(criterion: Mapping[str, Any], name: str) -> list[Any]:
    for option in criterion.get("options", ()):
        if option.get("name") == name:
            value = option.get("value")
            return list(value) if isinstance(value, (list, tuple)) else [value]
    return [""]


def _fits(value: Any, criteria: Mapping[str, Any]) -> bool:
    """Tell whether an object, or any of several, fulfils every criterion."""
    if isinstance(value, (list, tuple)):
        return any(_fits(item, criteria) for item in value)
    if "operation" in criteria:
        return _holds(value, criteria)
    if not isinstance(value, Mapping):
        return False
    for key, criterion in criteria.items():
        if criterion.get("operation") == "orderBy":
            continue
        if not _fits(value.get(key), criterion):
            return False
    return True


def _holds(value: Any, criterion: Mapping[str, Any]) -> bool:
    operation: object = criterion["operation"]
    if operation == "in":
        return str(value) in {str(wanted) for wanted in _option(criterion, "data")}
    if operation in ("is null", "not null"):
        return (value is None) == (operation == "is null")
    if isinstance(operation, (bool, int, float)) or value is None:
        return value is not None and str(value).lower() == str(operation).lower()
    sign, _, wanted = str(operation).partition(" ")
    text, low = str(value), str(value).lower()
    if sign in ("<", ">", "<=", ">="):
        number, limit = float(text), float(wanted)
        return bool({"<": number < limit, ">": number > limit, "<=": number <= limit, ">=": number >= limit}[sign])
    checks: dict[str, bool] = {
        "_=": low == wanted.lower(),  # the client resolves a hostname by it to the one machine that it then cancels
        "*=": wanted.lower() in low,
        "^=": low.startswith(wanted.lower()),
        "$=": low.endswith(wanted.lower()),
        "~": wanted in text,
        "!~": wanted not in text,
        "!=": text != wanted,
    }
    return checks[sign] if sign in checks and wanted else text == str(operation)
