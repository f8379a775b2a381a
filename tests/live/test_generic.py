"""Hosts that belong to someone: lab machines with one user who has sudo, of which nothing but SSH is reached; then the same by way of a jump host."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from swarmbook.access.node import Endpoint, Node
from swarmbook.params import Params
from swarmbook.phases.support.outside import looked_at
from swarmbook.phases.support.ports import wanted_ports

from .conftest import Lab, Running, free_ports, program
from .strangers import gets_into

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab]) -> Lab:
    """What params/generic.yaml says, with two hosts, at ports of their own."""
    shipped = yaml.safe_load((ROOT / "params" / "generic.yaml").read_text())
    hosts = [f"{name}=deploy@127.0.0.1:{port}" for name, port in zip(("h1", "h2"), free_ports(2))]
    lab = make_lab(["h1", "h2"])
    lab.params = {**shipped, **lab.params, "hosts": hosts, "swarm_managers": 1, "wait_timeout": 120}
    lab.swarmbook("lab-hosts", lab.file()).expect(0, "h1 at deploy@127.0.0.1", "h2 at deploy@127.0.0.1")
    lab.swarmbook("lab-hosts", lab.file()).expect(0, "they exist already")
    return lab


def test_what_is_wrong_with_a_host_is_told_before_anything_is_changed(lab: Lab) -> None:
    (free,) = free_ports(1)
    wrong = [f"h1=deploy@127.0.0.1:{free}", lab.params["hosts"][1]]
    lab.book("run", "--only", "01", hosts=wrong).refused(
        3, "h1 does not answer over SSH", f"ssh -p {free} deploy@127.0.0.1", "correct hosts or ssh_jump"
    )
    lab.book("run", "--only", "01", hosts=[entry.replace("deploy", "root") for entry in lab.params["hosts"]]).refused(
        3, "h1 does not accept the cluster's SSH key", "in root's authorized_keys", "ssh-copy-id -i", "root@127.0.0.1"
    )
    lab.host("h2").sh("mv /etc/sudoers.d/50-host /root/")
    lab.book("run", "--only", "01").refused(
        3, "deploy may not become root on h2", "NOPASSWD", "visudo", "password", "swarmbook explain sudo-asks"
    )
    lab.host("h2").sh("mv /root/50-host /etc/sudoers.d/")
    assert not (lab.folder / "cluster.json").exists(), "an inventory of hosts of which one cannot be used"


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Path]:
    """The socket of an ssh-agent that holds nothing."""
    if shutil.which("ssh-agent") is None:
        pytest.skip("no OpenSSH client here")
    with subprocess.Popen(["ssh-agent", "-D", "-a", tmp_path / "sock"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield tmp_path / "sock"
        process.terminate()


def test_hosts_by_their_names_in_an_ssh_configuration_with_a_key_of_an_agent(lab: Lab, agent: Path) -> None:
    """One directly, the other by way of it, and a key that wants a passphrase: as they are in ~/.ssh/config."""
    lab.book("cancel", "--yes").expect(0)  # the key that the cluster has taken meanwhile
    folder, locked = lab.home / "ssh", lab.home / "ssh" / "id_db"
    folder.mkdir()
    shutil.copy(lab.home / "hosts" / "id_ed25519", locked)
    lab.call(["ssh-keygen", "-q", "-p", "-N", "secret words", "-f", str(locked)]).expect(0)
    inner, port = lab.host("h2").sh("hostname -I").split()[0], lab.params["hosts"][0].rpartition(":")[2]
    (folder / "config").write_text(
        f"Include {folder}/*.conf\nHost db?\n  User deploy\n  IdentityFile {locked}\n  IdentitiesOnly yes\n"
    )
    (folder / "1.conf").write_text(
        f"Host db1\n  HostName 127.0.0.1\n  Port {port}\nHost db2\n  HostName {inner}\n  ProxyJump db1\n"
    )
    named = {"hosts": ["h1=db1", "h2=db2"], "ssh_config": "ssh/config", "ssh_key_file": ""}
    env = {"SSH_AUTH_SOCK": ""}
    lab.book("run", "--only", "01", env=env, **named).refused(
        2, "no key is known with which h1 lets us in", "wants a passphrase", "ssh_agent: SSH_AUTH_SOCK"
    )
    named["ssh_agent"] = "SSH_AUTH_SOCK"
    lab.book("run", "--only", "01", env=env, **named).refused(3, "no ssh-agent is known here", 'eval "$(ssh-agent)"')
    env = {"SSH_AUTH_SOCK": str(agent)}
    refused = lab.book("run", "--only", "01", env=env, **named).refused(
        3, "the ssh-agent holds no key", "ssh-add", "swarmbook explain ssh-agent-lacks-key"
    )
    assert not (lab.folder / "cluster.json").exists(), refused
    ask = folder / "ask"
    ask.write_text("#!/bin/sh\necho secret words\n")
    ask.chmod(0o755)
    lab.call(
        ["ssh-add", "-q", str(locked)], env={**env, "SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force"}
    ).expect(0)
    lab.book("run", "--only", "01", env=env, **{**named, "hosts": ["h1=db1", "h2=db9"]}).refused(
        2, "no address is known for db9", "similar names there: db", "swarmbook explain ssh-config-unclear"
    )
    lab.book("plan", "--only", "01", env=env, **named).expect(
        0,
        f"deploy@127.0.0.1:{port} (db1 in ",
        f"deploy@{inner}:22 (db2 in ",
        "1.conf, line 4) by way of deploy@127.0.0.1",
    )
    lab.book("run", "--only", "01", env=env, **named).expect(0)
    assert lab.call([*program("swarmbook"), "ssh", "h2", "hostname"], env=env).expect(0).out == "h2\n"
    lab.book("run", "--only", "01", env=env, **named).expect(0)
    assert sum(chapter["changes"] for chapter in lab.summary()["chapters"]) == 0
    assert not (lab.folder / "id_ed25519").exists(), "no key of the cluster's own where none is needed"
    lab.call(["ssh-add", "-q", "-D"], env=env).expect(0)
    lab.book("status", env=env, **named).expect(3, "the agent does not hold it any more")
    lab.call(
        ["ssh-add", "-q", str(locked)], env={**env, "SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force"}
    ).expect(0)
    lab.book("cancel", "--yes", env=env, **named).expect(0)


#: What is done to h2, how it is undone, and what is said of it.
TURNED_AWAY = {
    "an expired password": (
        "chage -d 0 deploy",
        "chage -d $(date +%F) deploy",
        ["the password of deploy on h2 has expired", "ssh -t -p"],
    ),
    "no shell": (
        "usermod -s /usr/sbin/nologin deploy",
        "usermod -s /bin/bash deploy",
        ["deploy on h2 has no shell", "currently not available", "chsh -s /bin/sh deploy"],
    ),
    "a forced command": (
        """sed -i '1s/^/command="echo Please login as the user \\\\"admin\\\\" rather than this one." /' /home/deploy/.ssh/authorized_keys""",
        "sed -i '1s/^command=.*one\\.\" //' /home/deploy/.ssh/authorized_keys",
        ["h2 wants another user than deploy", "h2=admin@127.0.0.1"],
    ),
    "an account that has expired": (
        "chage -E 0 deploy",
        "chage -E -1 deploy",
        ["the account deploy on h2 has expired", "chage -E -1 deploy"],
    ),
}


def test_logins_that_run_nothing_are_named_for_what_they_are(lab: Lab) -> None:
    h2 = lab.host("h2")
    for do, undo, words in TURNED_AWAY.values():
        h2.sh(do)
        lab.book("run", "--only", "01").refused(3, *words, "swarmbook explain login-runs-nothing")
        h2.sh(undo)
    h2.sh("echo 'System is booting up. See pam_nologin(8)' > /run/nologin")
    lab.book("run", "--only", "01", wait_timeout=10).refused(
        3, "h2 to answer over SSH: not within 10 s", "System is booting up", "swarmbook explain login-not-yet"
    )
    running = lab.start("run", "--only", "01")
    running.until(lambda: "System is booting up" in running.said or lab.kernels())
    h2.sh("rm /run/nologin")
    running.wait().expect(0)
    h2.sh("echo 'AllowTcpForwarding no' > /etc/ssh/sshd_config.d/00-hard.conf && systemctl reload ssh")
    lab.book("run", "--only", "01").refused(
        1, "h2: SSH forwards connections", "not to 2376", "swarmbook explain forwarding-refused"
    )
    h2.sh("rm /etc/ssh/sshd_config.d/00-hard.conf && systemctl reload ssh")


def test_hosts_as_people_have_them(lab: Lab) -> None:
    """A login that prints, an sshd without SFTP, a resolv.conf written by hand, a start line over several lines: the book runs on them."""
    for name in ("h1", "h2"):
        lab.host(name).sh(
            """sed -i '1i echo "*** Welcome to $(hostname) ***"; echo facts >&2' /home/deploy/.bashrc
printf 'echo from sshrc\\n' > /home/deploy/.ssh/rc
sed -i '/^Subsystem/d' /etc/ssh/sshd_config && systemctl reload ssh
sed 's/^nameserver */nameserver\\t/; s/$/ # by hand/' /etc/resolv.conf > /root/resolv && printf 'nameserver nowhere\\n' >> /root/resolv && cat /root/resolv > /etc/resolv.conf
sed -i 's|^ExecStart=\\(.*\\) -H fd://|ExecStart=\\1 \\\\\\n  -H fd://|' /usr/lib/systemd/system/docker.service
grep -q '^ExecStart=.*\\\\$' /usr/lib/systemd/system/docker.service && systemctl daemon-reload"""
        )
    lab.book("run", "--only", "01").expect(0)


def test_the_whole_book(lab: Lab) -> None:
    lab.book("run").expect(0, "ssh_config -N -L 8501:127.0.0.1:8501")
    assert lab.summary()["status"] == "completed"
    lab.book("run").expect(0)
    assert sum(chapter["changes"] for chapter in lab.summary()["chapters"]) == 0
    exports = lab.swarmbook("env", "h1").expect(
        0, "DOCKER_HOST=unix:///", "# first, in a terminal of its own: swarmbook tunnel h1"
    )
    tunnel = Running([*program("swarmbook"), "tunnel", "h1"], lab.env, lab.home, lab.home / "tunnel.txt")
    try:
        tunnel.until(lambda: "Ctrl-C ends it" in tunnel.said)
        listed = lab.call(["sh", "-c", f"{exports.out}\ndocker node ls --format '{{{{.Hostname}}}}'"]).expect(0)
        assert sorted(listed.out.split()) == ["h1", "h2"]
    finally:
        tunnel.send(signal.SIGINT).expect(0, "ended")
    lab.book("status").expect(0, "Synced, Primary")


@pytest.mark.long
def test_login_shells_that_are_no_sh_make_no_difference(lab: Lab) -> None:
    """fish and tcsh, each with a greeting of its own: another run finds nothing to change, and files still arrive."""
    shells = {"h1": "fish", "h2": "tcsh"}
    for name, shell in shells.items():
        lab.host(name).sh(
            f"export DEBIAN_FRONTEND=noninteractive; apt-get update -q && apt-get install -q -y --no-install-recommends {shell}\n"
            f"chsh -s $(command -v {shell}) deploy\n"
            "install -d -o deploy /home/deploy/.config/fish\n"
            "echo 'echo Welcome; echo facts' | tee /home/deploy/.config/fish/config.fish > /home/deploy/.cshrc"
        )
    try:
        lab.book("run").expect(0)
        assert sum(chapter["changes"] for chapter in lab.summary()["chapters"]) == 0
        lab.host("h2").sh("rm /etc/swarmbook/consul/node.json")
        lab.book("run", "--only", "04").expect(0)
        assert sum(chapter["changes"] for chapter in lab.summary()["chapters"]) > 0
    finally:
        for name in shells:
            lab.host(name).sh("chsh -s /bin/bash deploy")


def test_an_engine_of_the_hosts_own_is_as_before_when_it_does_not_take_what_we_write(lab: Lab) -> None:
    h1, files = lab.host("h1"), "/etc/docker/daemon.json /etc/systemd/system/docker.service.d/swarmbook.conf"
    h1.sh("cp /etc/docker/daemon.json /root/")
    before = h1.sh(f"cat {files}; ls -A /etc/docker /etc/systemd/system/docker.service.d")
    started = h1.sh("systemctl show -p MainPID docker")

    # What rules a swarm out is known before anything is written.
    h1.sh("sed -i '1s/{/{ \"live-restore\": true,/' /etc/docker/daemon.json")
    lab.book("run", "--only", "03").refused(
        3, "the engine of h1 is set to live-restore", "not touched", "swarmbook explain engine-settings-rule-out"
    )
    # What the engine itself finds wrong is known before it is restarted, where it can be asked.
    h1.sh('sed -i \'1s/"live-restore": true/"no-such-setting": 1/\' /etc/docker/daemon.json')
    lab.book("run", "--only", "03", log_max_files=4).refused(3, "the engine on h1 does not start", "no-such-setting")
    assert "no-such-setting" in h1.sh("cat /etc/docker/daemon.json") and "4" not in h1.sh(
        "grep max-file /etc/docker/daemon.json"
    )
    h1.sh("cat /root/daemon.json > /etc/docker/daemon.json")
    assert h1.sh("systemctl show -p MainPID docker") == started, "it was never restarted"

    # What only its start shows is taken back, and it runs as before.
    h1.sh(
        "systemd-run -q --unit=squatter /usr/sbin/sshd -D -o ListenAddress=127.0.0.1:2399 -o PidFile=none; for i in $(seq 100); do ss -Hltn 'sport = :2399' | grep -q . && break; sleep 0.1; done"
    )
    lab.book("run", "--only", "03", docker_api_port=2399).refused(
        3,
        "the engine on h1 does not start; what was written was taken back, and it runs as before",
        "address already in use",
        "swarmbook explain engine-does-not-start",
    )
    h1.sh("systemctl stop squatter && systemctl is-active docker")
    assert h1.sh(f"cat {files}; ls -A /etc/docker /etc/systemd/system/docker.service.d") == before
    lab.book("run", "--only", "03").expect(0)


def test_hosts_of_ones_own_have_walls_unasked(lab: Lab) -> None:
    """Who is on their network and is no node gets into SSH; so does this computer, which is none either."""
    ((network, _),) = lab.host("h1").inspect()["NetworkSettings"]["Networks"].items()
    addresses = [lab.host(name).inspect()["NetworkSettings"]["Networks"][network]["IPAddress"] for name in ("h1", "h2")]
    assert gets_into(lab, addresses, [22, 2377, 7946, 8300, 8501], network) == [
        f"{address}:22" for address in addresses
    ]
    nodes = [
        Node(name, name, address, address, Endpoint(address, 22), "", tunnel=True)
        for name, address in zip(("h1", "h2"), addresses)
    ]
    ports = wanted_ports(Params().view("05"))
    assert [
        check.seen for check in looked_at(Params(firewall="always").view("05"), nodes, ports, before_wall=False)
    ] == ["shut"] * 2
    lab.host("h2").sh("nft flush chain inet swarmbook entrance")
    found = looked_at(Params(firewall="always").view("05"), nodes, ports, before_wall=False)[1]
    assert not found.ok and "7946/tcp (swarm gossip)" in found.seen, "so that the look can tell"
    lab.book("run", "--only", "03").expect(0)


def test_a_cluster_that_runs_is_not_forgotten(lab: Lab) -> None:
    lab.book("cancel", "--yes").refused(
        2,
        "run 90 first: h1, h2 still carry the cluster",
        "swarmbook destroy PARAMS",
        "swarmbook explain cluster-still-there",
    )
    assert (lab.folder / "cluster.json").exists()


def test_a_host_that_is_off_is_waited_for_and_only_its_owner_starts_it(lab: Lab) -> None:
    lab.host("h2").stop()
    lab.book("plan", "--only", "01").expect(0, "machine waited for")
    lab.book("run", "--only", "01", wait_timeout=10).refused(
        3, "h2 to answer over SSH: not within 10 s", "only you can start", "swarmbook explain host-off"
    )
    running = lab.start("run", "--only", "01")
    running.until(lambda: "Create the machines" in running.said or lab.kernels())
    lab.host("h2").start()
    running.wait().expect(0)


def test_taken_away_and_the_hosts_stay(lab: Lab) -> None:
    lab.book("destroy", "--yes").expect(0)
    lab.book("cancel", "--yes").expect(0)
    assert not lab.folder.exists()
    for name in ("h1", "h2"):
        machine = lab.host(name)
        assert machine.there and machine.try_sh("ls /etc/swarmbook /etc/docker/daemon.json 2>/dev/null")[1] == ""
        assert machine.try_sh("nft list tables | grep swarmbook; ls -d /etc/swarmbook-wall 2>/dev/null")[1] == ""
    lab.book("cancel", "--yes").expect(0)


def test_by_way_of_a_jump_host(lab: Lab) -> None:
    """Both are reached through the first one, at addresses that only it knows."""
    jump = lab.params["hosts"][0].partition("=")[2]
    inner = {name: lab.host(name).sh("hostname -I").split()[0] for name in ("h1", "h2")}
    through = {"hosts": [f"{name}=deploy@{address}" for name, address in inner.items()], "ssh_jump": jump}
    lab.book("run", "--only", "01", **through).expect(0)
    lab.swarmbook("ls").expect(0, inner["h2"], f"by way of {jump.partition('@')[2]}")
    if shutil.which("ssh"):
        assert lab.ssh("h2", "hostname").expect(0).out.splitlines()[-1] == "h2", "its login prints, as before"
    lab.book("run", "--only", "01", **through).expect(0)
    assert sum(chapter["changes"] for chapter in lab.summary()["chapters"]) == 0

    # Another host key is refused until a person takes the old one out.
    lab.host("h2").sh(
        "rm /etc/ssh/ssh_host_*; ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key && systemctl restart ssh"
    )
    refused = lab.book("run", "--only", "01", **through).refused(
        3, "h2 shows another host key", "ssh-keygen -f", f"-R '{inner['h2']}'"
    )
    command = (
        next(line for line in refused.said.splitlines() if "ssh-keygen -f" in line)
        .partition("reinstalled on purpose: ")[2]
        .partition(" &&")[0]
    )
    lab.call(["sh", "-c", command]).expect(0)
    lab.book("run", "--only", "01", **through).expect(0)
    lab.book("cancel", "--yes", **through).expect(0)
    notes = lab.home / "hosts" / "notes.txt"
    notes.write_text("someone's")
    lab.swarmbook("lab-hosts", lab.file(), "--down").expect(0, "machine h1", "key hosts/id_ed25519")
    assert notes.exists() and not (lab.home / "hosts" / "id_ed25519").exists(), (
        "only the key that was made for them goes"
    )
