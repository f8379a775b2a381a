"""The command ``images``: what a cluster's services are made of, and building it again."""

from __future__ import annotations

import json
from contextlib import nullcontext
from datetime import datetime, timezone

import click

from swarmbook.cli.common import example, open_book, say, with_json, with_parameters
from swarmbook.params import Params

__all__ = ["images"]


@click.command(epilog=example("swarmbook images params/lab.yaml --refresh && swarmbook run params/lab.yaml"))
@with_parameters
@click.option(
    "--refresh",
    is_flag=True,
    help="Build base and images again, with the packages of today. The next run sends them to the nodes and changes the services to them, one member after the other.",
)
@with_json
def images(params: Params, refresh: bool, as_json: bool) -> None:
    """Show the images that were built on this computer, and which of them the cluster's services run.

    An image is named by its recipe and its content: images with one tag are the same everywhere.
    """
    from swarmbook.access.docker_images import labelled_images
    from swarmbook.machines.host_engine import engine_there
    from swarmbook.machines.images.labels import BASE, LABEL
    from swarmbook.model.checks import Table
    from swarmbook.phases.support.images import image_of
    from swarmbook.phases.support.refresh import images_of, refresh_images

    book = open_book(params)
    if refresh:
        # Without a cluster there is nothing to hold, and no folder to make.
        with book.cluster.lock("images") if book.cluster.exists() else nullcontext():
            made = refresh_images(book)
        say("\n".join(f"built {tag}" for tag in made.values()), err=as_json)
        if book.cluster.exists():
            say("to bring them in: swarmbook run PARAMS", err=as_json)
    runs = {image_of(book, name) for name in images_of(book)} if book.cluster.exists() else set()
    engine = engine_there()
    rows = [
        [
            tag,
            datetime.fromtimestamp(image.created, timezone.utc).strftime("%Y-%m-%d %H:%M"),
            f"{image.size >> 20} MiB",
            image.labels.get(BASE, ""),
            "yes" if tag in runs else "",
        ]
        for image in (labelled_images(engine, LABEL) if engine is not None else ())
        for tag in image.tags
    ]
    there = {row[0] for row in rows}
    rows += [[tag, "not on this computer", "", "", "yes"] for tag in sorted(runs - there) if "-" in tag]
    table = Table(["image", "built (UTC)", "size", "base", f"of cluster {params.cluster}"], rows)
    say(json.dumps(table.to_json(), indent=2) if as_json else table.to_text() if rows else "No images were built here.")
    book.close()
