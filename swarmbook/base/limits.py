"""How many files this process may open: a run, its kernels and their connections need more than some shells allow."""

from __future__ import annotations

import resource

from swarmbook.base.codes import Code
from swarmbook.base.errors import WorldError

__all__ = ["allow_open_files"]

#: What a run on seven nodes needs is below half of it.
_LEAST, _GOOD = 256, 4096


def allow_open_files() -> None:
    """Let this process, and what it starts, open as many files as a run needs, if the system allows so many.

    Raises:
        WorldError: It does not.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    good = _GOOD if hard == resource.RLIM_INFINITY else min(_GOOD, hard)
    if soft != resource.RLIM_INFINITY and soft < good:
        resource.setrlimit(resource.RLIMIT_NOFILE, (good, hard))
    if good < _LEAST:
        raise WorldError(
            "this process may open too few files for a run",
            where="ulimit -Hn",
            wanted=f"at least {_LEAST}",
            seen=str(hard),
            next="a new shell; or raise the limit (/etc/security/limits.conf, LimitNOFILE= of a unit), and run it again",
            code=Code.TOO_MANY_FILES,
        )
