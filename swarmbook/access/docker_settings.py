"""What Docker's settings of a user say of registries' credentials (``~/.docker/config.json``): used as the docker command does."""

from __future__ import annotations

import shutil
from typing import Any

from swarmbook.base.border import words
from swarmbook.base.codes import Code
from swarmbook.base.errors import EngineUnavailable
from swarmbook.base.words import typed

__all__ = ["settings_wrong", "without_missing_helpers"]


def without_missing_helpers(client: Any) -> None:
    """Ask registries without credentials where their helper is not on this computer, as the docker command does.

    Args:
        client: The SDK's.
    """
    credentials = client.api._auth_configs
    if (store := credentials.creds_store) and not _has_helper(store):
        del credentials["credsStore"]
    for registry, helper in list(credentials.cred_helpers.items()):
        if not _has_helper(helper):
            del credentials["credHelpers"][registry]


def _has_helper(name: str) -> bool:
    return shutil.which(f"docker-credential-{name}") is not None


def settings_wrong(what: str, error: Exception) -> EngineUnavailable:
    """Make an error of what the SDK says of settings or credentials.

    Args:
        what: What was asked for.
        error: The SDK's.
    """
    import docker.utils.config

    file = docker.utils.config.find_config_file() or "~/.docker/config.json"
    return EngineUnavailable(
        f"{what}: Docker's settings of this user, or the credentials they lead to, cannot be used",
        where=str(file),
        wanted="settings that the docker command can read, and a credential helper that answers",
        seen=words(error),
        next=f"docker info, and fix {typed(file)}; without it: export DOCKER_CONFIG=$(mktemp -d)",
        code=Code.CREDENTIALS_REFUSED if type(error).__name__ == "StoreError" else Code.ENGINE_SETTINGS_NOT_READ,
    )
