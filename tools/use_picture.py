"""Draws docs/use.svg, the picture that README opens with: an application at work while its writer is killed, and later hands over.

Usage: python tools/use_picture.py PARAMS     (a lab that runs, with its endpoint: swarmbook run PARAMS --only 20)

It breaks the cluster on purpose, holds what was acknowledged against every member, and prints the figures. Nothing else
should run meanwhile.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path

from swarmbook.access.commands import sh
from swarmbook.application.tally import Seen
from swarmbook.base.errors import SwarmbookError
from swarmbook.book.book import Book
from swarmbook.params import load_params
from swarmbook.phases.endpoint.switch import switch_writer
from swarmbook.phases.endpoint.ways import writer_now
from swarmbook.phases.support.members import member_name, of_service, service_name
from swarmbook.phases.use.folder import claimed
from swarmbook.phases.use.step import clean, figures_table, held, picture, run_it

FILE = Path(__file__).resolve().parents[1] / "docs" / "use.svg"
#: When the writer is killed, when the next one hands over, and when it ends; seconds.
KILLED_S, HANDED_S, ENDS_S = 12.0, 28.0, 40.0


def main(path: str) -> int:
    """Run the application, break the cluster, draw.

    Returns:
        0 where everything held, else 1.
    """
    book = Book("", load_params(path))
    params, broken = book.params, list[tuple[float, str]]()
    node_of = {member_name(params, node): node for node in params.members()}
    first = node_of[writer_now(book)]

    def kill() -> None:
        service = service_name(params, first)
        book.fleet[first].run(sh("docker kill $(@!{running} -q | head -n 1)", running=of_service(service)))

    def hand_over() -> None:
        now = node_of[writer_now(book)]
        switch_writer(book, next(node for node in params.members() if node not in (first, now)))

    todo = [(HANDED_S, "hands over", hand_over), (KILLED_S, "killed", kill)]
    threads: list[threading.Thread] = []
    failed: list[SwarmbookError] = []

    def do(act: Callable[[], None]) -> None:
        try:
            act()
        except SwarmbookError as error:
            failed.append(error)

    def heard(seen: Seen) -> None:
        if todo and seen.seconds >= todo[-1][0]:
            _, what, act = todo.pop()
            broken.append((seen.seconds, what))
            threads.append(threading.Thread(target=do, args=(act,)))
            threads[-1].start()

    try:
        with claimed(book.cluster.name):
            ran = run_it(book, ENDS_S, heard, stoppable=False)
            for thread in threads:
                thread.join()
            checks = held(book, ran.folder)
            clean(book)
    finally:
        book.close()
    words = " and ".join(f"{what} at {at:.0f} s" for at, what in broken)
    title = f"An application at work: its writer is {words.replace('and hands', 'and the next one hands')}"
    FILE.write_text(picture(ran.seen, title=title) + "\n", encoding="utf-8")
    for error in failed:
        print(error)
    print(f"{figures_table(ran.figures).to_text()}\n\n{checks.to_text()}\n\n{FILE}")
    return 1 if checks.failed or failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
