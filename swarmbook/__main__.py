"""Where the command begins: imports so little that it can still say why nothing else could be imported."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line."""
    try:
        from swarmbook.cli import main as command
    except Exception as error:
        from swarmbook.base.shadows import shadows

        found = shadows()
        if not found:
            raise
        said = f"{type(error).__name__}: {error}"
        sys.stderr.write(
            "WorldError: a file of yours stands in the place of a module of Python's own\n"
            f"  where:  {', '.join(found)}\n"
            "  wanted: Python's own module of that name\n"
            f"  seen:   {said}\n"
            "  next:   rename it, or take its folder out of PYTHONPATH: env -u PYTHONPATH swarmbook ...\n"
        )
        raise SystemExit(3) from None
    command(prog_name="swarmbook")


if __name__ == "__main__":
    main()
