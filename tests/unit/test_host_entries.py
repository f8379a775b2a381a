"""SSH configurations as people have them: read as ssh itself reads them, and refused by line where that cannot be known."""

from __future__ import annotations

import getpass
import shutil
import subprocess
from pathlib import Path

import pytest

from swarmbook.access.ways import Asked, Way
from swarmbook.base.codes import Code
from swarmbook.testing.errors import raises

CONFIG = """\
# people's own
Include conf.d/*.conf
Host db1
    HostName 10.0.0.11
    User=deploy
    Port   2222
    IdentityFile ~/.ssh/id_db
Host db2 alias2 !not2
  HostName "10.0.0.12"   # by the door
  identityfile "%d/.ssh/of %n"
  ProxyJump bastion
Host db3
  HostName %h.db.example.com
  ProxyCommand ssh -q -W %h:%p ops@bastion
Host quiet
  HostName 10.0.0.14
  ProxyJump none
  ProxyCommand nc %h %p
Host six
  HostName fd00::6
Host two-hops
  HostName 10.9.9.9
  ProxyJump first.example.com:2200,second
Host second
  HostName 10.9.9.1
  User hop
Host *.example.com
  User web
  IdentitiesOnly yes
Host db? !db3
  User someone
Match host 10.0.0.11 user deploy
  IdentityFile ~/.ssh/id_more
Match originalhost quiet
  User quietly
Match host elsewhere exec "touch /tmp/never"
  User root
Match all
  IdentityFile ~/.ssh/id_all
Host *
  User last
  Port 2022
"""
INCLUDED = """\
Host bastion
  HostName 203.0.113.1
  Port 2201
  User ops
Host *
  ServerAliveInterval 5
"""
#: Included by a block that does not count for them: nothing in it does.
IN_A_BLOCK = """\
Host only
  Include conf.d/nested
  Port 4
Host nested
  HostName 10.1.1.1
"""
NESTED = """\
User inner
Host nested
  Port 3
Host only
  HostName 10.2.2.2
"""
NAMES = ["db1", "db2", "alias2", "not2.example.com", "db3", "quiet", "six", "two-hops", "shop.example.com", "bastion", "Shop.EXAMPLE.com", "10.5.5.5", "only", "nested"]  # fmt: skip


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a configuration; ssh's own idea of the home is another, so that nothing is relative to it in what is compared."""
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / ".ssh"
    (folder / "conf.d").mkdir(parents=True)
    (folder / "conf.d" / "1.conf").write_text(INCLUDED)
    (folder / "conf.d" / "2.conf").write_text(IN_A_BLOCK.replace("conf.d/nested", str(folder / "conf.d" / "nested")))
    (folder / "conf.d" / "nested").write_text(NESTED)
    file = folder / "config"
    file.write_text(CONFIG.replace("conf.d/*", str(folder / "conf.d") + "/*"))
    return file


def asked(file: Path) -> Asked:
    return Asked(file.parent, str(file))


@pytest.mark.parametrize("name", NAMES)
def test_it_is_read_as_ssh_reads_it(config: Path, name: str) -> None:
    if shutil.which("ssh") is None:
        pytest.skip("no ssh on this computer (apt-get install openssh-client)")
    done = subprocess.run(
        ["ssh", "-G", "-F", str(config), name], capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL
    )
    said = [line.partition(" ")[::2] for line in done.stdout.splitlines()]
    of = dict(reversed(said))
    way = asked(config).way(name)
    assert (way.login.end.host.lower(), str(way.login.end.port), way.login.user) == (
        of["hostname"],
        of["port"],
        of["user"],
    )
    real = str(Path(f"~{getpass.getuser()}").expanduser())
    named = [v.replace("~", real).replace("%d", real).replace("%n", name) for k, v in said if k == "identityfile"]
    assert [each.value.replace(str(config.parents[1]), real) for each in way.files] == named
    assert way.only == (of.get("identitiesonly") == "yes")
    jumps = of.get("proxyjump", "none")
    if name == "db3":
        jumps = "ops@bastion"
    assert (way.jump is None) == (jumps == "none")
    assert not Path("/tmp/never").exists()


def hops(way: Way | None) -> list[str]:
    return [] if way is None else [*hops(way.jump), str(way.login)]


def test_jump_hosts_have_entries_of_their_own(config: Path) -> None:
    ways = asked(config).ways(["n1=db2", "n2=two-hops", "n3=db3:23", "n4=me@db1"])
    assert hops(ways["n1"]) == ["ops@203.0.113.1:2201", "someone@10.0.0.12:2022"]
    assert hops(ways["n2"]) == ["web@first.example.com:2200", "hop@10.9.9.1:2022", "last@10.9.9.9:2022"]
    assert hops(ways["n3"]) == ["ops@203.0.113.1:2201", "last@db3.db.example.com:23"]
    assert hops(ways["n4"]) == ["me@10.0.0.11:2222"], "what the parameters say goes before"
    assert f"db2 in {config}, line 8" in str(ways["n1"]) and "by way of ops@203.0.113.1:2201" in str(ways["n1"])
    one = Asked(config.parent, str(config), jump="bastion").ways(["n1=db1", "n2=two-hops"])
    assert all(hops(way)[:-1] == ["ops@203.0.113.1:2201"] for way in one.values())


def test_without_a_configuration_nothing_is_looked_up(config: Path) -> None:
    ways = Asked(config.parent, key="~/.ssh/key", jump="x@j:24").ways(["n1=db1", "n2=a@[fd00::1]:23"])
    assert [str(way) for way in ways.values()] == ["root@db1:22 by way of x@j:24", "a@fd00::1:23 by way of x@j:24"]
    assert [each.value for each in ways["n1"].files] == [str(config.parent / "key")]


#: Lines that come first, the host, the line that is named, and words that are said.
UNCLEAR = {
    "a program is asked": ('Match exec "test -e /"\n User x', "db1", 2, "Match exec"),
    "a second reading": ("Match final\n IdentityFile y", "db1", 2, "block `Host db1` before it"),
    "an Include in it": ("Match exec true\n Include more", "db1", 2, "Match exec"),
    "a program on the way": (
        "Host db1\n ProxyCommand cloudflared access ssh --hostname %h",
        "db1",
        2,
        "ProxyJump JUMP",
    ),
    "a token that comes late": ("Host db1\n IdentityFile ~/.ssh/%C", "db1", 2, "%C"),
    "a name that is made canonical": ("CanonicalizeHostname yes", "db1", 1, "CanonicalizeHostname no"),
    "a port that is none": ("Port ssh", "db1", 1, "no port"),
    "a user that is none": ("User EXAMPLE\\me", "db1", 1, "a user's name"),
    "an address that is none": ("Host db1\n HostName -oProxyCommand=x", "db1", 2, "an address"),
    "a jump host that is none": ("ProxyJump a$b", "db1", 1, "no jump host"),
    "jumps in a circle": ("Host db1\n ProxyJump db9\nHost db9\n ProxyJump db1", "db1", 0, "without end"),
    "a quotation without end": ('Host "db1\n User x', "db1", 1, "quotation"),
    "a certificate elsewhere": ("CertificateFile ~/certs/x.pub", "db1", 1, "beside"),
    "another agent": ("IdentityAgent /run/other.sock", "db1", 1, "another agent"),
    "an entry without an address": ("Host nowhere1\n User x", "nowhere1", 1, "HostName with its address"),
    "no entry": ("", "db-1", 0, "similar names there: db1"),
    "files in a circle": ("Include {config}", "db1", 1, "include each other"),
    "a file in it that cannot be read": ("Include {folder}", "db1", 1, "included by"),
}


@pytest.mark.parametrize("case", UNCLEAR)
def test_what_cannot_be_known_is_refused_by_line(config: Path, case: str) -> None:
    first, name, number, words = UNCLEAR[case]
    first = first.format(config=config, folder=config.parent / "conf.d")
    config.write_text(f"{first}\n{CONFIG.replace('Include conf.d/*.conf', '')}")
    with raises(Code.SSH_CONFIG_UNCLEAR, words) as caught:
        Asked(config.parent, str(config), agent="SSH_AUTH_SOCK").way(name)
    assert caught.value.next
    assert number == 0 or f"{config}, line {number}" in str(caught.value.where)


def test_what_cannot_be_known_and_is_of_no_account(config: Path) -> None:
    config.write_text(
        "Host db1\n HostName 10.0.0.1\n User x\n ProxyJump none\nMatch exec true\n User y\n ProxyCommand z\n ForwardAgent yes\n"
        "Match host other exec true\n IdentityFile a\nMatch !originalhost db* exec true\n IdentityFile b\n"
    )
    way = asked(config).way("db1")
    assert hops(way) == ["x@10.0.0.1:22"] and not way.files


def test_a_configuration_that_is_not_there(tmp_path: Path) -> None:
    with raises(Code.SSH_CONFIG_UNCLEAR, "cannot be read", "ssh_config in the parameters"):
        asked(tmp_path / "absent").way("db1")
