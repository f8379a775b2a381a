"""The lines that matter, picked from logs as the lab's machines wrote them."""

from __future__ import annotations

from swarmbook.diagnosis.symptoms import MOST, Section, pick

ENGINE = """2026-11-25T02:59:40+00:00 l1 containerd[395]: time="2026-11-25T02:59:40.796234400Z" level=error msg="failed to load cni during init, please check CRI plugin status before setting up network for pods" error="cni config load failed"
2026-11-25T02:59:42+00:00 l1 dockerd[402]: time="2026-11-25T02:59:42.541009140Z" level=error msg="error reading the kernel parameter net.ipv4.neigh.default.gc_thresh1" error="open /proc/sys/net: no such file or directory"
2026-11-25T02:59:43+00:00 l1 dockerd[402]: time="2026-11-25T02:59:43.1Z" level=info msg="API listen on /run/docker.sock, no errors, failed to be seen"
2026-11-25T03:05:32+00:00 l1 dockerd[402]: time="2026-11-25T03:05:32.3Z" level=error msg="fatal task error" error="task: non-zero exit (1)" module=node/agent/taskmanager node.id=n6kty2aneq service.id=x6pgf4klvv task.id=ibriqjunlb
2026-11-25T03:05:38+00:00 l1 dockerd[402]: time="2026-11-25T03:05:38.9Z" level=error msg="fatal task error" error="task: non-zero exit (1)" module=node/agent/taskmanager node.id=n6kty2aneq service.id=x6pgf4klvv task.id=su7lbc4i2a"""
MEMBER = """exit 1, oom=false, began 2026-11-25T03:05:27.369950093Z, ended 2026-11-25T03:05:32.221657666Z
2026-11-25T03:05:27.660965711Z 2026-11-25T03:05:27Z galera: founding the cluster shop
2026-11-25T03:05:27.787309460Z 2026-11-25T03:05:27Z announce: critical: the server does not answer (starting, joining, or down)
2026-11-25T03:05:31.596215164Z 2026-11-25  3:05:31 0 [Warning] Could not increase number of max_open_files to more than 20000 (request: 32184)
2026-11-25T03:05:31.635110000Z 2026-11-25  3:05:31 0 [Note] WSREP: Failed to be anything but a note
2026-11-25T03:05:32.096000000Z 2026-11-25T03:05:32Z galera: ERROR: init.d/10-leak.sh ended with exit code 1; its last lines stand above.
2026-11-25T03:05:32.100000000Z 2026-11-25  3:05:32 0 [ERROR] Aborting"""
DISK = """Filesystem      Size  Used Avail Use% Mounted on
overlay         200G   60G  140G  31% /
/dev/loop3      3.0G  3.0G   12M 100% /var/lib/docker"""
RUNNING = "exit 0, oom=false, began 2026-11-25T03:00:07.010043385Z, ended 0001-01-01T00:00:00Z"


def said(*sections: tuple[str, str]) -> list[Section]:
    return [Section(name, "", text) for name, text in sections]


def texts(collected: dict[str, list[Section]], *more: str) -> list[str]:
    return [str(line) for line in pick(collected, *more)]


def test_a_member_that_does_not_bootstrap() -> None:
    found = texts({"l1": said(("engine: journal", ENGINE), ("galera: shop_l1, exited 1a2b3c", MEMBER))}, "07")
    assert found == [
        "l1  galera: shop_l1: exit 1, oom=false, began 2026-11-25T03:05:27.369950093Z, ended 2026-11-25T03:05:32.221657666Z",
        "l1  galera: shop_l1: galera: ERROR: init.d/10-leak.sh ended with exit code 1; its last lines stand above.",
        "l1  galera: shop_l1: [ERROR] Aborting",
        'l1  engine: journal: level=error msg="fatal task error" error="task: non-zero exit (1)"  (2 times)',
    ]


def test_only_sources_of_the_phase() -> None:
    collected = {"l1": said(("galera: galera_l1, running 1a2b", MEMBER), ("engine: journal", ENGINE))}
    assert all("engine: journal" in line for line in texts(collected, "03"))
    assert {line.split(": ")[0] for line in texts(collected)} == {"l1  galera", "l1  engine"}


def test_what_was_before_the_run_does_not_matter() -> None:
    found = texts({"l1": said(("engine: journal", ENGINE))}, "03", "2026-11-25T03:05:35")
    assert found == ['l1  engine: journal: level=error msg="fatal task error" error="task: non-zero exit (1)"']
    assert texts({"l1": said(("engine: journal", ENGINE))}, "03", "2026-11-26T00:00:00") == []


def test_a_healthy_cluster_has_no_grave_line() -> None:
    healthy = said(
        ("galera: galera_l1, running ec80", RUNNING),
        ("disk: free space", DISK.replace("100%", "40%")),
        ("engine: journal", ENGINE.splitlines()[2]),
    )
    assert texts({"l1": healthy}) == []


def test_full_disk_memory_and_silence_come_first() -> None:
    killed = "2026-11-25T03:05:28,997519+00:00 Out of memory: Killed process 4242 (mariadbd) total-vm:1634kB"
    silent = said(
        (
            "node: does not answer",
            "HostUnreachable: n2 does not answer over SSH\nthe provider says: container 1a2b is exited",
        )
    )
    found = texts(
        {
            "l1": said(("engine: journal", ENGINE), ("disk: free space", DISK), ("kernel: last messages", killed)),
            "n2": silent,
        },
        "07",
    )
    assert found[:2] == [
        "n2  node: does not answer: HostUnreachable: n2 does not answer over SSH",
        "n2  node: does not answer: the provider says: container 1a2b is exited",
    ]
    assert "l1  disk: free space: /dev/loop3      3.0G  3.0G   12M 100% /var/lib/docker" in found
    assert any("Out of memory: Killed process 4242" in line for line in found)


def test_bounded_and_no_source_hides_the_others() -> None:
    many = "\n".join(f"[ERROR] trouble {'abcdefghij'[n % 10]}{'klmnopqrst'[n // 10]}" for n in range(100))
    nodes = {
        f"n{number}": said(("galera: g, running 1", many), ("swarm: tasks", many.replace("trouble", "worry")))
        for number in range(9)
    }
    found = pick(nodes, "07")
    assert len(found) == MOST
    assert [line.text for line in found[:4]] == [
        f"[ERROR] trouble {'abcdefghij'[n % 10]}{'klmnopqrst'[n // 10]}" for n in range(96, 100)
    ]
    assert len({line.node for line in found}) == 3
    long = pick({"n": said(("galera: g", "[ERROR] " + "x" * 5000))}, "07")
    assert len(long[0].text) == 400


BROKEN = """2026-11-25T03:13:01+00:00 n2 dockerd[900]: unable to configure the Docker daemon with file /etc/docker/daemon.json: the following directives don't match any configuration option: no-such-setting
2026-11-25T03:13:01+00:00 n2 systemd[1]: docker.service: Main process exited, code=exited, status=1/FAILURE
2026-11-25T03:13:01+00:00 n2 systemd[1]: docker.service: Failed with result 'exit-code'.
2026-11-25T03:13:01+00:00 n2 systemd[1]: Failed to start docker.service - Docker Application Container Engine.
2026-11-25T03:13:03+00:00 n2 systemd[1]: docker.service: Start request repeated too quickly."""


def test_the_cause_not_systemd_s_word_for_it() -> None:
    silent = (
        "engine: does not answer",
        "docker version: Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
    )
    assert texts({"n2": said(("engine: journal", BROKEN), silent)}, "03") == [
        f"n2  engine: journal: {BROKEN.splitlines()[0].partition('[900]: ')[2]}",
        f"n2  engine: does not answer: {silent[1]}",
    ]


def test_a_log_and_its_copy_are_told_once() -> None:
    line = "2026-11-25T03:05:32Z [ERROR] Aborting"
    assert texts({"l1": said(("galera: g, exited 1a", line), ("galera: founding that failed, /data", line))}, "07") == [
        "l1  galera: g: [ERROR] Aborting"
    ]


def test_managers_say_the_same_of_the_swarm() -> None:
    task = 'shop_l1.1 on l1: Shutdown, Failed 5 seconds ago "task: non-zero exit (1)"'
    assert texts({node: said(("swarm: nodes, services, tasks", task)) for node in ("l1", "l2")}, "07") == [
        f"l1  swarm: nodes: {task}"
    ]


def test_warnings_where_there_is_nothing_worse() -> None:
    warning = "2026-11-25T03:05:31Z 2026-11-25  3:05:31 0 [Warning] WSREP: Failed to resolve ssl://galera:4567"
    assert texts({"l1": said(("galera: g", warning))}) == [
        "l1  galera: g: [Warning] WSREP: Failed to resolve ssl://galera:4567"
    ]
    assert texts({"l1": said(("galera: g", f"{warning}\n[ERROR] x"))}) == ["l1  galera: g: [ERROR] x"]
