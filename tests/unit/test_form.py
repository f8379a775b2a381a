"""The form for a parameter file: what it finds wrong, and what of the file it changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from swarmbook.access.cluster import Cluster
from swarmbook.book.book import Book
from swarmbook.params import Params, load_params
from swarmbook.phases.start.form import Form, edit, rewrite

FILE = """# The shop's cluster.
cluster: shop   # its name

nodes: [sw1, sw2, sw3]
swarm_managers: 3
wipe_disks:      # none, since spring
  - sw1
  - sw2
# the end
"""


def test_only_what_differs_is_written_anew() -> None:
    assert rewrite(FILE, {"cluster": "shop", "wipe_disks": ["sw1", "sw2"]}) == FILE
    changed = rewrite(
        FILE, {"cluster": "bar", "nodes": ["a1"], "swarm_managers": 1, "wipe_disks": [], "mariadb_port": 3306}
    )
    assert (
        changed
        == FILE.replace("shop   #", "bar   #")
        .replace("[sw1, sw2, sw3]", "[a1]")
        .replace("managers: 3", "managers: 1")
        .replace("wipe_disks:      # none, since spring\n  - sw1\n  - sw2\n", "wipe_disks: []\n")
        + "mariadb_port: 3306\n"
    )


def test_a_file_that_is_not_there_yet() -> None:
    assert rewrite("", {"cluster": "bar", "nodes": ["a1", "b1"]}) == "cluster: bar\nnodes: [a1, b1]\n"
    assert rewrite("cluster: x1", {"cluster": "x1", "datacenter": "dc2"}) == "cluster: x1\ndatacenter: dc2\n"


VALUES = st.fixed_dictionaries(
    {},
    optional={
        "cluster": st.from_regex(r"\A[a-z][a-z0-9-]{0,20}[a-z0-9]\Z"), "nodes": st.lists(st.from_regex(r"\A[a-z][a-z0-9]{1,8}\Z"), min_size=3, max_size=5, unique=True),
        "wait_timeout": st.integers(10, 7200), "system_update": st.booleans(), "mariadb_user": st.just("null"), "lab_hourly_cost": st.floats(0, 10),
        "ssh_key_file": st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=20),
    },
)  # fmt: skip


@given(VALUES, st.sampled_from([FILE, "", "# nothing\n", "nodes:\n- a1\n- b1\nswarm_managers: 1\n"]))
def test_what_was_written_is_read(values: dict[str, Any], text: str) -> None:
    read = yaml.safe_load(rewrite(text, values)) or {}
    for name in {*values, *(yaml.safe_load(text) or {})}:
        default = Params.model_fields[name].default
        assert read.get(name, default) == values.get(name, default), name
    assert text.count("#") >= rewrite(text, values).count("#") - str(values).count("#")


@pytest.fixture
def form(tmp_path: Path) -> Form:
    path = tmp_path / "shop.yaml"
    path.write_text(FILE)
    return Form(path)


def test_it_says_what_is_wrong_as_one_types(form: Form) -> None:
    assert form.check() and not form.save.disabled and "swarmbook run" in form.status.value
    form.fields["swarm_managers"].value = "4"
    assert (
        form.save.disabled
        and "raft needs a majority" in form.notes["swarm_managers"].value
        and "use 3" in form.notes["swarm_managers"].value
    )
    form.fields["nodes"].value = "sw1, SW2"
    form.fields["wait_timeout"].value = "soon"
    assert (
        "SW2" in form.notes["nodes"].value
        and "maximum seconds for any single wait" in form.notes["wait_timeout"].value
        and "✘" in form.status.value
    )
    form.write()
    assert form.path.read_text() == FILE, "what is wrong is not written"


def test_it_writes_what_is_right(form: Form) -> None:
    form.fields["mariadb_port"].value = "3306"
    form.fields["nodes"].value = "sw1, sw2, sw3, sw4"
    form.fields["system_update"].value = True
    form.fields["storage_layout"].value = "lvm-xfs"
    form.save.click()
    assert "saved" in form.status.value and "# its name" in form.path.read_text()
    params = load_params(form.path)
    assert (params.nodes[-1], params.mariadb_port, params.system_update, params.storage_layout) == (
        "sw4",
        3306,
        True,
        "lvm-xfs",
    )


def test_every_parameter_has_a_field_that_takes_its_default(tmp_path: Path) -> None:
    form = Form(tmp_path / "new.yaml")
    assert set(form.fields) == set(Params.model_fields) and form.values() == Params().model_dump()
    form.save.click()
    assert load_params(tmp_path / "new.yaml") == Params()


def test_where_nobody_could_click_it_is_a_table(home: Path) -> None:
    (home / "params").mkdir()
    (home / "params" / "shop.yaml").write_text(FILE)
    result = edit(Book("00", Params(cluster="shop"), cluster=Cluster("shop")))
    assert ["wipe_disks", '["sw1", "sw2"]'] in [row[:2] for row in result.table.rows] and result.looked
