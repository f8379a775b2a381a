"""A flat YAML mapping, read with the line of each key, so that a mistake is reported where it is."""

from __future__ import annotations

import re
from typing import Any

import yaml

from swarmbook.params.checks import Mistake

__all__ = ["RETIRED", "read_flat"]

#: Parameters of earlier versions: what to do about them. In a record they are passed over.
RETIRED = {
    "mariadb_root_password": "remove the line: root is let in by the socket of its member alone (swarmbook ssh NODE docker exec ...); "
    "for an administrator over the network, set mariadb_admin",
}


def read_flat(text: str) -> tuple[dict[str, Any], dict[str, int], list[Mistake]]:
    """Read a flat YAML mapping's values and line numbers; PyYAML alone keeps the last of two equal keys, silently."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        # What it quotes may be a secret that was put where a reference belongs: an alias, to YAML, when it begins with `*`.
        problem = re.sub(r" '..+'", "", getattr(error, "problem", None) or "it does not parse")
        return (
            {},
            {},
            [Mistake((mark.line + 1) if mark else 1, "(file)", f"not YAML: {problem}", "one 'name: value' a line")],
        )
    if root is None:
        return {}, {}, []
    if not isinstance(root, yaml.MappingNode):
        return {}, {}, [Mistake(1, "(file)", "not a mapping", "one 'name: value' a line")]
    values: dict[str, Any] = {}
    lines: dict[str, int] = {}
    mistakes: list[Mistake] = []
    loader = yaml.SafeLoader("")
    for key_node, value_node in root.value:
        key, line = str(key_node.value), key_node.start_mark.line + 1
        if key in lines:
            mistakes.append(Mistake(line, key, f"given twice (first in line {lines[key]})", "keep one of the two"))
            continue
        lines[key] = line
        try:
            values[key] = loader.construct_object(value_node, deep=True)
        except Exception:  # PyYAML lets ValueError, KeyError and others through; its words would repeat the value, which may be a secret
            mistakes.append(
                Mistake(
                    line,
                    key,
                    "not readable as a value",
                    "use plain scalars and lists only; put quotes around text that starts with a special character",
                )
            )
    return values, lines, mistakes
