r"""What a text among the parameters may be: a pattern for each kind, and the words that say so.

No pattern lets in what a shell, SQL, YAML or a terminal would take for more than a text, and none lets in a second line. Texts
are quoted wherever they go all the same; this is the first of two walls. The patterns are pydantic's, of Rust's regular
expressions: there ``$`` is the end of the text, and not, as in Python, also the place before a newline at its end.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints

from swarmbook.base.secrets import REFERENCE

__all__ = [
    "WORDS", "Address", "AddressEntry", "Database", "DiskDevice", "Domain", "Endpoint", "HookTarget", "HostEntry", "HostFolder", "HostLogin", "Image", "Kept", "Label", "LocalPath", "Moment", "Name",
    "Network", "Package", "Port", "RentedDomain", "Repository", "Rotates", "SecretReference", "Series", "Size", "SnapshotId", "SystemCode", "User", "Word", "kind", "near_name",
]  # fmt: skip

#: What is wanted, by the pattern that says so to a program.
WORDS: dict[str, str] = {}


def kind(pattern: str, words: str, most: int = 255) -> Any:
    """Return the constraints of a kind of text.

    Args:
        pattern: Of the whole text, from ``^`` to ``$``.
        words: What is wanted, for a person: goes on after "not".
        most: Characters at most.
    """
    WORDS[pattern] = words
    return StringConstraints(pattern=pattern, max_length=most)


def near_name(text: str) -> str:
    """Return the name that a node may have in the parameters, for one that its owner gave it: DB_1.example.com is db-1."""
    label = re.sub("[^a-z0-9-]+", "-", text.partition(".")[0].lower()).strip("-")
    if not label[:1].isalpha():
        label = f"n{label}"
    return (label if len(label) > 1 else f"{label}1")[:32].rstrip("-")


_LABEL = "[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?"
_LOGIN = r"([A-Za-z_][A-Za-z0-9_.-]*@)?(\[[0-9a-fA-F:]+\]|[A-Za-z0-9][A-Za-z0-9._-]*)(:[0-9]{1,5})?"
_WANTED_LOGIN = "[USER@]ADDRESS[:PORT]"

Name = Annotated[
    str, kind("^[a-z][a-z0-9-]{0,30}[a-z0-9]$", "a name of 2 to 32 lowercase letters, digits and hyphens", 32)
]
NameOrNone = Annotated[
    str,
    kind("^([a-z][a-z0-9-]{0,30}[a-z0-9])?$", "a name of 2 to 32 lowercase letters, digits and hyphens, or empty", 32),
]
Port = Annotated[int, Field(ge=1, le=65535)]
Size = Annotated[str, kind("^[1-9][0-9]*[kKmMgG]$", "a size such as 10m or 2G", 20)]
Address = Annotated[str, kind("^([0-9a-fA-F:.]+)?$", "an address such as 9.9.9.9, or empty", 45)]
Network = Annotated[str, kind(r"^[0-9]{1,3}(\.[0-9]{1,3}){3}/[0-9]{1,2}$", "an IPv4 network such as 10.200.0.0/24", 18)]
HostEntry = Annotated[str, kind(rf"^[a-z][a-z0-9-]*={_LOGIN}$", f"NAME={_WANTED_LOGIN}", 400)]
HostLogin = Annotated[str, kind(rf"^({_LOGIN})?$", f"{_WANTED_LOGIN}, or empty", 400)]
AddressEntry = Annotated[str, kind("^[a-z][a-z0-9-]*=[0-9.]+$", "NAME=ADDRESS, such as sw1=10.0.0.11", 50)]
#: Of this computer: letters of any language, and no character that a shell takes for more than itself.
LocalPath = Annotated[
    str,
    kind(
        r"^([\p{L}\p{N}_./~][\p{L}\p{M}\p{N}_./~@%+,:= -]*)?$",
        "a path of letters, digits, blanks and _ . / ~ @ % + , : = -",
        4096,
    ),
]
#: As restic names it; credentials of a place come from restic's own environment, so none may stand in its address.
Repository = Annotated[
    str,
    kind(
        r"^(sftp:([A-Za-z_][A-Za-z0-9_.-]*@)?[A-Za-z0-9][A-Za-z0-9.-]*:[A-Za-z0-9_./~-]+|rest:https?://[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?|s3:(https?://)?[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]+)|[\p{L}\p{N}_./~][\p{L}\p{M}\p{N}_./~@%+,= -]*)?$",
        "a folder of this computer, sftp:[USER@]HOST:PATH, rest:URL or s3:URL/BUCKET without credentials, or empty",
        1024,
    ),
]
Kept = Annotated[
    str,
    kind(
        "^([1-9][0-9]{0,3} (last|hourly|daily|weekly|monthly|yearly)(, [1-9][0-9]{0,3} (last|hourly|daily|weekly|monthly|yearly)){0,5})?$",
        "what is kept, such as 7 daily, 4 weekly, or empty",
        120,
    ),
]
SnapshotId = Annotated[str, kind("^(latest|[0-9a-f]{8,64})$", "latest, or the id of a snapshot", 64)]
#: A second of UTC, or a GTID of MariaDB's: domain, server, number.
Moment = Annotated[
    str,
    kind(
        "^([0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2}Z?|[0-9]{1,10}-[0-9]{1,10}-[0-9]{1,19})?$",
        "one moment: a time, UTC, such as 2026-11-28 14:03:07, or a GTID such as 41234-41234-812; or empty",
        40,
    ),
]
SecretReference = Annotated[str, kind(REFERENCE, "a reference: generate, env:NAME or file:PATH", 4096)]
#: Of a node: absolute, without `..`, and nothing in it that mount, sed or a shell would see.
HostFolder = Annotated[
    str,
    kind(r"^((/[A-Za-z0-9_-][A-Za-z0-9_.-]*)+/?)?$", "an absolute path such as /srv/mariadb, or empty", 1024),
]
DiskDevice = Annotated[
    str,
    kind(r"^(auto|/dev(/[A-Za-z0-9_][A-Za-z0-9_.:@+=%-]*)+)$", "auto, or a device such as /dev/sdb", 255),
]
Image = Annotated[
    str,
    kind(r"^[A-Za-z0-9][A-Za-z0-9._-]*(:[0-9]+)?(/[A-Za-z0-9][A-Za-z0-9._-]*)*(:[A-Za-z0-9_][A-Za-z0-9._-]*)?(@sha256:[0-9a-f]{64})?$",
         "the name of an image, such as debian:trixie-slim", 400),
]  # fmt: skip
#: A hyphen at the end would have apt remove the package, one at the beginning be an option.
Package = Annotated[str, kind("^[A-Za-z0-9]([A-Za-z0-9+._-]*[A-Za-z0-9+])?$", "the name of a package", 128)]
Domain = Annotated[str, kind(rf"^({_LABEL}(\.{_LABEL})*)?$", "a domain such as service.consul, or empty", 253)]
RentedDomain = Annotated[
    str,
    kind(
        r"^([a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+)?$",
        "a domain such as example.com, or empty",
        253,
    ),
]
Endpoint = Annotated[
    str,
    kind(
        r"^(rehearsal|https?://([A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?)?$",
        "a URL such as https://api.softlayer.com/xmlrpc/v3.1/, rehearsal, or empty",
        1024,
    ),
]
#: Of this computer, or of a service: who hears how a run ended.
HookTarget = Annotated[
    str,
    kind(
        r"^(https?://([A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(:[0-9]{1,5})?(/[A-Za-z0-9._~%+=@:/-]*)?|env:[A-Za-z_][A-Za-z0-9_]*|(file:)?[\p{L}\p{N}_./~][\p{L}\p{M}\p{N}_./~@%+,= -]*)?$",
        "a program's path, a URL, env:NAME or file:PATH of a URL, or empty",
        4096,
    ),
]
SystemCode = Annotated[str, kind("^[A-Za-z0-9_]+$", "a reference code such as UBUNTU_22_64", 64)]
Label = Annotated[
    str, kind("^([A-Za-z0-9_.@][A-Za-z0-9_.@-]*)?$", "a label of letters, digits and _ . @ -, or empty", 128)
]
Database = Annotated[
    str, kind("^([A-Za-z][A-Za-z0-9_]{0,63})?$", "a database's name of letters, digits and underscores, or empty", 64)
]
#: As a server lists it; what its own words for a table may hold besides is rare.
Table = Annotated[
    str, kind(r"^[A-Za-z0-9_][A-Za-z0-9_-]{0,63}\.[A-Za-z0-9_][A-Za-z0-9_-]{0,63}$", "a table as DATABASE.TABLE", 129)
]
Setting = Annotated[
    str,
    kind(
        r"^([A-Za-z][A-Za-z0-9_-]{0,63}=[A-Za-z0-9_./:,%+@= -]{0,1000}|file:[\p{L}\p{N}_./~][\p{L}\p{M}\p{N}_./~@%+,:= -]*)$",
        "a setting such as max_connections=500, or file:my.cnf",
        4096,
    ),
]
User = Annotated[
    str, kind("^([a-z][a-z0-9_]{0,31})?$", "a user's name of lowercase letters, digits and underscores, or empty", 32)
]
#: What can be replaced; see :data:`swarmbook.model.phases.ROTATIONS`.
#: YAML takes what is not quoted for a number.
Series = Annotated[
    Literal["11.8", "10.11"], BeforeValidator(lambda value: str(value) if isinstance(value, float) else value)
]
Rotates = Literal[
    "all",
    "engine",
    "consul",
    "replication",
    "database",
    "swarm",
    "gossip-key",
    "consul-tokens",
    "password",
    "watch-password",
    "join-tokens",
    "unlock-key",
]
Word = Annotated[str, kind("^([A-Za-z]+( [A-Za-z0-9]+)?)?$", "a word, a word and a number, or empty", 40)]
