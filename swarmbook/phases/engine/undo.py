"""What an engine was set to before we wrote, kept on its node until it has started with what we wrote; and put back where it has not."""

from __future__ import annotations

from swarmbook.access.commands import Script, sh
from swarmbook.phases.engine.probe import DROP_IN
from swarmbook.phases.engine.settings import SETTINGS

__all__ = ["FORGET_UNDO", "MISTAKEN", "TAKE_BACK", "VALIDATE", "keep_undo"]

_FOLDER = "/etc/swarmbook/engine-undo"
#: Exit code of :data:`VALIDATE` where the settings are wrong.
MISTAKEN = 65


def keep_undo(folder: str = _FOLDER, settings: str = SETTINGS, drop_in: str = DROP_IN) -> Script:
    """Return what keeps both files, byte for byte; what a killed run has kept stays: it is older than what that run wrote.

    Args:
        folder: Where they are kept.
        settings: The engine's settings.
        drop_in: Our drop-in.
    """
    return sh(
        """[ ! -e @{folder} ] || exit 0
rm -rf @{new} && mkdir -p -m 700 @{new} || exit 1
[ ! -e @{settings} ] || cp -p @{settings} @{new}/settings || exit 1
[ ! -e @{drop_in} ] || cp -p @{drop_in} @{new}/drop-in || exit 1
mv @{new} @{folder}""",
        folder=folder,
        new=f"{folder}.new",
        settings=settings,
        drop_in=drop_in,
    )


def take_back(folder: str = _FOLDER, settings: str = SETTINGS, drop_in: str = DROP_IN) -> Script:
    """Return what puts both files back, and says so; nothing where nothing is kept."""
    return sh(
        """[ -e @{folder} ] || exit 0
back() { if [ -e "$1" ]; then cp -p "$1" "$2.new" && mv -f "$2.new" "$2"; else rm -f "$2"; fi; }
back @{folder}/settings @{settings} && back @{folder}/drop-in @{drop_in} && rm -rf @{folder} && echo taken back""",
        folder=folder,
        settings=settings,
        drop_in=drop_in,
    )


TAKE_BACK = take_back()
#: The engine has started with what we wrote.
FORGET_UNDO = sh("rm -rf @{folder}", folder=_FOLDER)
#: Engines from 23 on look at their settings without starting; an older one has no such option.
VALIDATE = sh(
    """dockerd --help 2>/dev/null | grep -q -e '--validate' || exit 0
said=$(dockerd --validate --config-file @{settings} 2>&1) && exit 0
echo "$said" | tail -n 5
exit @{mistaken}""",
    settings=SETTINGS,
    mistaken=MISTAKEN,
)
