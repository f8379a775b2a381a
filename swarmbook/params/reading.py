"""Parameters read: from a file, a notebook's cell, a record; everything that is wrong is reported at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from swarmbook.base.codes import Code
from swarmbook.base.errors import ParameterError
from swarmbook.base.secrets import REFERENCE
from swarmbook.base.words import many
from swarmbook.model.phases import PHASES
from swarmbook.params.checks import Mistake, cross_checks
from swarmbook.params.flat import RETIRED, read_flat
from swarmbook.params.kinds import (
    WORDS,
    near_name,
)  # fmt: skip
from swarmbook.params.schema import Params, phase_params
from swarmbook.params.server_settings import as_entries

__all__ = ["differing", "load_params", "mistakes_in", "params_from_namespace", "params_from_record"]

_OF_ONE_RUN = {"confirm", "recover_member", "rotate", "without"}


def load_params(path: str | Path, *, names_cluster: bool = False) -> Params:
    """Read a parameter file.

    Example:
        >>> load_params("params/lab.yaml").nodes
        ['sw1', 'sw2', 'sw3']

    Args:
        path: A flat YAML file.
        names_cluster: Refuse one that leaves the cluster's name to its default: what destroys is meant for one by name.

    Returns:
        The parameters, defaults filled in.

    Raises:
        ParameterError: Everything that is wrong with the file, in one message.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ParameterError(
            f"the parameter file cannot be read: {error.strerror}",
            where=str(path),
            next="name an existing file, such as params/lab.yaml",
            code=Code.PARAMETERS_NOT_READ,
        ) from None
    except UnicodeDecodeError as error:
        raise ParameterError(
            "the parameter file is not text",
            where=str(path),
            wanted="UTF-8",
            seen=str(error.reason),
            next="save it as UTF-8",
            code=Code.PARAMETERS_NOT_READ,
        ) from None
    values, lines, mistakes = read_flat(text)
    if "mariadb_settings" in values:
        values["mariadb_settings"] = as_entries(values["mariadb_settings"])
    if not values and not mistakes:
        mistakes.append(Mistake(1, "cluster", "the file says nothing", "name the cluster at least: cluster: lab"))
    elif names_cluster and "cluster" not in values:
        mistakes.append(
            Mistake(1, "cluster", "no cluster is named, and this command destroys", "name it: cluster: lab")
        )
    params, more = _validate(values)
    mistakes += [Mistake(lines.get(m.key, 1), m.key, m.what, m.fix) for m in more]
    _raise(mistakes, str(path))
    assert params is not None
    return params


def params_from_namespace(phase: str, namespace: Mapping[str, Any]) -> Params:
    """Read parameters from the variables of a notebook's parameters cell.

    Args:
        phase: Number of the notebook, such as ``"04"``.
        namespace: The notebook's variables (``globals()``).

    Raises:
        ParameterError: Everything that is wrong with the values.
    """
    names = phase_params(phase)
    params, mistakes = _validate({name: namespace[name] for name in names if name in namespace}, names)
    _raise(mistakes, f"the parameters cell of {PHASES[phase].file}")
    assert params is not None
    return params


def mistakes_in(values: Mapping[str, Any]) -> list[Mistake]:
    """List everything that is wrong with parameters, given by name; what is not among them has its default."""
    return _validate(values)[1]


def params_from_record(values: Mapping[str, Any], source: str) -> Params:
    """Read parameters as a run or a plan has kept them.

    Args:
        values: By name.
        source: Where they were kept, for the message.

    Raises:
        ParameterError: This swarmbook does not take them.
    """
    params, mistakes = _validate({name: value for name, value in values.items() if name not in RETIRED})
    _raise(mistakes, source)
    assert params is not None
    return params


def differing(kept: Params, given: Params) -> str:
    """List what two sets of parameters differ in, a line each; what is of one run alone is not compared."""
    old, new = kept.model_dump(exclude=_OF_ONE_RUN), given.model_dump(exclude=_OF_ONE_RUN)
    return "\n".join(f"{name}: {old[name]!r} then, {new[name]!r} now" for name in old if old[name] != new[name])


def _raise(mistakes: list[Mistake], source: str) -> None:
    if not mistakes:
        return
    found = "\n".join(f"line {m.line}: {m.key}: {m.what}\n    fix: {m.fix}" for m in sorted(mistakes))
    raise ParameterError(
        f"{many(len(mistakes), 'mistake')} in the parameters; nothing was touched",
        where=source,
        seen=found,
        next="correct the lines above and run again",
    )


def _validate(
    values: Mapping[str, Any], names: Iterable[str] = Params.model_fields
) -> tuple[Params | None, list[Mistake]]:
    """Return the parameters, or what is wrong with ``names``: a notebook leaves the others at their defaults."""
    mistakes: list[Mistake] = []
    good = dict(values)
    try:
        params = Params.model_validate(good)
    except ValidationError as error:
        for item in error.errors():
            key = str(item["loc"][0])
            good.pop(key, None)
            mistakes.append(_mistake(key, item))
        try:  # what is left can still be held against itself, so that all mistakes are reported at once
            params = Params.model_validate(good)
        except ValidationError:
            return None, mistakes
    reported = {m.key for m in mistakes}
    mistakes += [
        m
        for m in cross_checks(params, reported | (Params.model_fields.keys() - set(names)))
        if m.key not in reported and m.key in names
    ]
    return (None if mistakes else params), mistakes


def _near(key: str, given: str) -> str:
    """Say which name to use for a node whose owner calls it otherwise; empty where that is not what is wrong."""
    name, equals, rest = given.partition("=") if key in ("hosts", "private_addresses") else (given, "", "")
    if key not in ("nodes", "galera_nodes", "wipe_disks", "without", "hosts", "private_addresses") or not name:
        return ""
    if (near := near_name(name)) == name or (key in ("hosts", "private_addresses") and not rest):
        return ""
    return f"{near}{equals}{rest}; the name is the book's own for this node, and the host's hostname may stay as it is"


def _mistake(key: str, item: Any) -> Mistake:
    if item["type"] == "extra_forbidden":
        if key in RETIRED:
            return Mistake(0, key, "a parameter of earlier versions", RETIRED[key])
        close = difflib.get_close_matches(key, Params.model_fields, n=1)
        return Mistake(
            0, key, "no such parameter", f"did you mean {close[0]}?" if close else "`swarmbook params` lists them all"
        )
    field = Params.model_fields[key]
    at = "".join(f"[{part}]" for part in item["loc"][1:])
    secret = any(getattr(limit, "pattern", "") == REFERENCE for limit in field.metadata)
    # A value that should have been a reference may well be the secret itself: it is not repeated.
    seen = "" if secret else f" (seen: {item['input']!r})"
    fix = f"{field.description}; default {field.default!r}"
    if isinstance(item["input"], str) and "pattern" in item.get("ctx", {}):
        fix = _near(key, item["input"]) or fix
    wanted = WORDS.get(item.get("ctx", {}).get("pattern", ""))
    what = f"not {wanted}" if wanted else item["msg"].lower()
    return Mistake(0, key, f"{at}{' ' if at else ''}{what}{seen}", fix)
