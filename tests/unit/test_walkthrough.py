"""The walkthrough's swarm.conf becomes a parameter file; nothing in it is run, and no password is repeated."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from swarmbook.cli import main
from swarmbook.params import load_params
from swarmbook.params.walkthrough import parameters_of, rendered

#: As people have it, after its settings.
CONF = """#
# Copy this file to swarm.local to override default values
#
nodelist=( sw0 sw1 sw2 )   # three nodes

machine_opts=""
datacenter=tor01
dns_search_domain=example.com
dns_primary=8.8.8.8
dns_secondary=8.8.4.4
sl_billing="hourly"
sl_cpu="1"
sl_memory="1024"
sl_os_disk_size="25"
sl_docker_disk_size="25"
sl_disk_type="" # Set this to "--san" to use SAN instead of local disk.
sl_public_vlan_id=""
sl_private_vlan_id="12345"
sl_domain="k2digital.local"
sl_region="${datacenter}"
sl_sshkey_name="jdr-swarm"
mariadb_cluster_name="swarmdb"
mariadb_data_path=/opt/mysql
mysql_root_password="Hunter2Hunter2"
sst_password="Correct-Horse"

export nodelist datacenter machine_opts \\
       dns_search_domain dns_primary dns_secondary
"""


def test_every_setting_is_taken_or_named() -> None:
    taken = parameters_of(CONF, "mine")
    assert taken.values == {
        "cluster": "mine", "provider": "softlayer", "nodes": ["sw0", "sw1", "sw2"], "swarm_managers": 3, "datacenter": "tor01",
        "dns_search_domain": "example.com", "dns_primary": "8.8.8.8", "dns_secondary": "8.8.4.4", "sl_billing": "hourly", "sl_cpu": 1,
        "sl_memory": 1024, "sl_os_disk": 25, "sl_docker_disk": 25, "sl_local_disk": True, "sl_private_vlan": 12345, "sl_domain": "k2digital.local",
        "sl_region": "tor01", "sl_ssh_key_label": "jdr-swarm", "mariadb_cluster_name": "swarmdb", "mariadb_data_path": "/opt/mysql",
    }  # fmt: skip
    assert [note.partition(":")[0] for note in taken.notes] == ["line 6", "line 24", "line 25"]
    assert "Hunter2" not in rendered(taken, "swarm.conf") and "Correct-Horse" not in rendered(taken, "swarm.conf")


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("nodelist=(\n  sw0\n  sw1\n)\n", "nodes", ["sw0", "sw1"]),
        ("nodelist=(sw0)", "swarm_managers", 1),
        ("export sl_cpu=4", "sl_cpu", 4),
        ("sl_disk_type='--san'", "sl_local_disk", False),
        ("d=lon02\ndatacenter=$d", "datacenter", "lon02"),
        ("sl_cpu=many", "sl_cpu", "many"),  # refused as any other mistake
    ],
)
def test_as_bash_reads_it(text: str, name: str, value: object) -> None:
    assert parameters_of(text, "mine").values[name] == value


@pytest.mark.parametrize("text", ["sl_domain=$(touch here)", "sl_domain=`touch here`", "touch here", 'sl_domain="open'])
def test_nothing_is_run(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    taken = parameters_of(text, "mine")
    assert "sl_domain" not in taken.values and taken.notes == ("line 1: no setting, and not run",)
    assert list(tmp_path.iterdir()) == []


def test_init_writes_a_file_that_can_be_planned(tmp_path: Path) -> None:
    conf = tmp_path / "swarm.conf"
    conf.write_text(CONF)
    book = tmp_path / "book"
    done = CliRunner().invoke(main, ["init", str(book), "--from", str(conf)])
    assert done.exit_code == 0, done.output
    assert f"swarmbook plan {Path('params', 'swarm.yaml')}" in done.output
    params = load_params(book / "params" / "swarm.yaml")
    assert (params.cluster, params.provider, params.nodes) == ("swarm", "softlayer", ["sw0", "sw1", "sw2"])
    assert "Hunter2" not in done.output
    written = (book / "params" / "swarm.yaml").read_text()
    assert "# swarm.conf, line 24: mysql_root_password: root has no login" in written and yaml.safe_load(written)
    again = CliRunner().invoke(main, ["init", str(book), "--from", str(conf)])
    assert again.exit_code == 2 and "is there already" in again.output


def test_what_is_wrong_in_it_is_told_and_nothing_is_written(tmp_path: Path) -> None:
    conf = tmp_path / "swarm.conf"
    conf.write_text(CONF.replace('sl_cpu="1"', "sl_cpu=many"))
    done = CliRunner().invoke(main, ["init", str(tmp_path / "book"), "--from", str(conf)])
    assert done.exit_code != 0 and "sl_cpu" in f"{done.output}{done.exception}"
    assert not (tmp_path / "book" / "params" / "swarm.yaml").exists()
