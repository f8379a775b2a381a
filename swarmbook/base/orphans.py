"""A kernel ends with its runner, however that ended.

ipykernel looks for that too, but a kernel whose runner dies in the moment before it begins to look is taken for one that never had
a runner, and waits for the process 1 to become its parent: where orphans go to another process, as in a user's session, for ever.
"""

from __future__ import annotations

import os
import threading
import time

__all__ = ["end_with_runner"]

_LOOK_S = 1.0


def end_with_runner() -> None:
    """End this process once the one that started it is gone; called in a kernel before all else."""
    runner = int(os.environ["JPY_PARENT_PID"])

    def look() -> None:
        while os.getppid() == runner:
            time.sleep(_LOOK_S)
        os._exit(1)

    if os.getppid() != runner:
        os._exit(1)
    threading.Thread(target=look, name="end-with-runner", daemon=True).start()
