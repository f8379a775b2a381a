"""Forged records: each is refused by the command that a person types, with a code and a sentence of its own; genuine ones pass.

The attacker can write to ``runs/``, and to wherever a plan lies; not to ``clusters/``, where the keys and the lists are.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key, load_ssh_public_key

from swarmbook import __version__
from swarmbook.access.cluster import Cluster
from swarmbook.base.codes import Code
from swarmbook.base.errors import UsageError
from swarmbook.cli import main, running
from swarmbook.model.ledger import FILE, Ledger
from swarmbook.model.plan import Plan
from swarmbook.params import Params
from swarmbook.record import envelope
from swarmbook.record.evidence import Evidence
from swarmbook.record.manifest import make
from swarmbook.record.signing import Signing

Recorded = Callable[..., Path]
FIRST, SECOND, THIRD = (f"2026-11-23T15-0{minute}-00Z" for minute in range(3))
PARAMETERS = Params(nodes=["sw1", "sw2"], swarm_managers=1).model_dump(exclude={"confirm"})
SIGNED = ("manifest.json.sig", "signer.pub", envelope.FILE)


@pytest.fixture
def runs(cluster: Cluster, recorded: Recorded) -> Path:
    """Three runs of the cluster lab, signed by its key."""
    for name in (FIRST, SECOND, THIRD):
        recorded(cluster, name, parameters=PARAMETERS, signing=Signing(cluster))
    return cluster.root / "runs" / "lab"


@pytest.fixture
def attacker(home: Path) -> Path:
    """Another person's key."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(home / "attacker")], check=True)
    return home / "attacker"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What would have been run: a session that is believed, and does nothing."""
    found: list[dict[str, Any]] = []

    class Session:
        def __init__(self, params: Params, numbers: list[str], what: str, **options: Any) -> None:
            found.append({"params": params, "numbers": numbers, **options})

        def run(self) -> None:
            pass

    monkeypatch.setattr(running, "Session", Session)
    return found


def cli(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def refused(code: Code, *words: str, of: Path, exit_code: int = 1, options: tuple[object, ...] = ()) -> None:
    """Audit, for a program and for a person."""
    status, said = cli("audit", of, "--json", *options)
    report = json.loads(said)
    assert (status, report["exit_code"], report["code"], report["ok"]) == (exit_code, exit_code, code.value, False), (
        said
    )
    status, said = cli("audit", of, *options)
    assert status == exit_code and all(word in said for word in words), said
    assert "unchanged since it was recorded" not in said


def rewrite(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Write a ledger again, each event changed, with a chain that holds."""
    events = [json.loads(line) for line in (folder / FILE).read_text().splitlines()]
    (folder / FILE).unlink()
    for event in events:
        change(event)
    Ledger(folder).extend(
        (e.pop("event"), {k: v for k, v in e.items() if k not in ("seq", "prev", "time")}) for e in events
    )


def sign(folder: Path, key: Path, cluster: str = "lab") -> None:
    """Seal a folder with a key, as swarmbook would."""
    signing = Signing(Cluster(cluster, folder.parents[2] / "elsewhere"), str(key))
    (folder / envelope.FILE).unlink(missing_ok=True)
    (folder / "signer.pub").write_text(signing.public() + "\n")
    raw = make(folder, cluster, signing.fingerprint())
    (folder / "manifest.json").write_bytes(raw)
    (folder / "manifest.json.sig").write_bytes(signing.sign(raw))
    envelope.write(folder, raw, signing)


def strip(folder: Path) -> None:
    """Leave nothing of a signature, and a manifest that says so."""
    for name in SIGNED:
        (folder / name).unlink(missing_ok=True)
    (folder / "manifest.json").write_bytes(make(folder, "lab", None))


def innocent(event: dict[str, Any]) -> None:
    """Take what happened out of the record."""
    if event["event"] == "run":
        event["user"] = "somebody-else"
    if event["event"] == "command":
        event["text"] = "echo nothing happened"


def poison(event: dict[str, Any]) -> None:
    """Put a parameter into the record that runs something on every node."""
    if event["event"] == "run":
        event["parameters"] = {**event["parameters"], "packages": ["evil"]}


# -- the genuine one ---------------------------------------------------------------------------------------------------


def test_the_genuine_ones_are_accepted(runs: Path, started: list[dict[str, Any]]) -> None:
    for name in (FIRST, SECOND, THIRD):
        status, said = cli("audit", runs / name)
        assert status == 0 and "unchanged since it was recorded" in said and "by swarmbook@lab" in said, said
    assert f"{SECOND}, as it was then" in said and f"{envelope.FILE} says the same" in said
    status, said = cli("audit", runs)
    assert status == 0 and "3 runs: all of them unchanged, and none missing" in said, said
    assert json.loads(cli("audit", runs, "--json")[1])["ok"] is True
    assert cli("run", "--resume", runs / THIRD)[0] == 0 and started[0]["params"].packages == []


def test_a_genuine_copy_is_accepted(runs: Path, home: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    copy = shutil.copytree(runs / THIRD, tmp_path_factory.mktemp("auditor") / "what-ana-sent")
    options = ("--allowed-signers", home / "clusters/lab/allowed_signers")
    refused(Code.RECORD_REPLAYED, "--run " + THIRD, of=copy, options=options)
    status, said = cli("audit", copy, "--run", THIRD, *options)
    assert status == 0 and f"{SECOND}, which is not here to be compared" in said, said
    assert cli("audit", copy, "--run", THIRD, "--cluster", "lab")[0] == 0
    refused(Code.RECORD_NOT_VOUCHED, "nothing vouches", of=copy, exit_code=4, options=("--run", THIRD))


# -- twelve and more forged ones -----------------------------------------------------------------------------------------


def test_a_ledger_written_again_and_stripped_of_its_signature(runs: Path) -> None:
    """The review's first: it was exit code 0, "unsigned"."""
    rewrite(runs / THIRD, innocent)
    strip(runs / THIRD)
    refused(
        Code.RECORD_UNSIGNED, "unsigned, where a signature by one of", "clusters/lab/allowed_signers", of=runs / THIRD
    )


def test_unsigned_where_a_list_exists(cluster: Cluster, runs: Path, recorded: Recorded) -> None:
    unsigned = recorded(cluster, "2026-11-23T15-09-00Z")
    refused(Code.RECORD_UNSIGNED, "unsigned, where", of=unsigned)
    assert cli("audit", runs)[0] == 1


def test_the_attackers_key_and_a_cluster_that_has_no_list(runs: Path, attacker: Path) -> None:
    """The review's second: the doubted run named the list that it was held to."""
    rewrite(runs / THIRD, lambda event: event.update(cluster="Lab") if event["event"] == "run" else None)
    sign(runs / THIRD, attacker, "Lab")
    refused(Code.RECORD_OF_ANOTHER_CLUSTER, "the record says Lab", "held to lab", of=runs / THIRD)


def test_the_attackers_key(runs: Path, attacker: Path) -> None:
    rewrite(runs / THIRD, innocent)
    sign(runs / THIRD, attacker)
    refused(Code.RECORD_FOREIGN_KEY, "a foreign signature", "not among the allowed signers", of=runs / THIRD)


def test_the_key_of_another_cluster_that_the_list_knows(runs: Path, attacker: Path, home: Path) -> None:
    rewrite(runs / THIRD, innocent)
    sign(runs / THIRD, attacker)
    public = " ".join((home / "attacker.pub").read_text().split()[:2])
    (home / "ours").write_text(f'swarmbook@shop namespaces="swarmbook-run" {public}\n')
    words = "the key of swarmbook@shop, which signs for that cluster alone"
    refused(Code.RECORD_FOREIGN_KEY, words, of=runs / THIRD, options=("--allowed-signers", home / "ours"))


def test_a_key_that_was_no_longer_allowed(runs: Path, home: Path) -> None:
    line = (home / "clusters/lab/allowed_signers").read_text()
    (home / "ours").write_text(line.replace("namespaces=", 'valid-before="20200101",namespaces='))
    refused(
        Code.RECORD_FOREIGN_KEY, "a foreign signature", of=runs / THIRD, options=("--allowed-signers", home / "ours")
    )


def test_an_old_run_in_a_new_folder(runs: Path) -> None:
    """The review's third: the record of a run that went well, for one that did not."""
    replayed = shutil.copytree(runs / FIRST, runs / "2026-11-23T15-05-00Z")
    refused(Code.RECORD_REPLAYED, f"it says {FIRST}", "held to 2026-11-23T15-05-00Z", of=replayed)
    shutil.rmtree(runs / THIRD)
    replayed.rename(runs / THIRD)
    refused(Code.RECORD_REPLAYED, f"it says {FIRST}", f"held to {THIRD}", of=runs / THIRD)


def test_the_run_before_it_was_deleted(runs: Path) -> None:
    shutil.rmtree(runs / SECOND)
    refused(Code.RUN_BEFORE_MISSING, f"the run before it is missing: {SECOND}", of=runs / THIRD)
    status, said = cli("audit", runs)
    assert status == 1 and f"{SECOND} is missing: this computer recorded it" in said, said


def test_the_run_before_it_was_replaced(runs: Path, attacker: Path, home: Path) -> None:
    """Even by a run that a listed key has signed."""
    rewrite(runs / SECOND, innocent)
    sign(runs / SECOND, home / "clusters/.records/lab/signing_ed25519")
    refused(Code.RUN_BEFORE_DIFFERS, SECOND, "is not the one that it was", of=runs / THIRD)
    refused(Code.RECORD_CHANGED, "not the one that this computer recorded", of=runs / SECOND)


def test_the_newest_run_was_deleted(runs: Path) -> None:
    """No run after it holds its head; the journal does."""
    shutil.rmtree(runs / THIRD)
    status, said = cli("audit", runs)
    assert status == 1 and f"{THIRD} is missing: this computer recorded it" in said, said


def test_a_run_was_put_between(runs: Path, home: Path, recorded: Recorded, cluster: Cluster) -> None:
    added = runs / "2026-11-23T15-01-30Z"
    shutil.copytree(runs / SECOND, added)
    rewrite(added, lambda event: event.update(run=added.name) if event["event"] == "run" else None)
    sign(added, home / "clusters/.records/lab/signing_ed25519")
    status, said = cli("audit", runs, "--json")
    (found,) = json.loads(said)["findings"][-1:]
    assert (status, found["code"]) == (1, "run-before-differs") and "a run was added" in found["finding"], said


def test_the_public_key_was_swapped(runs: Path, attacker: Path, home: Path) -> None:
    shutil.copy(home / "attacker.pub", runs / THIRD / "signer.pub")
    refused(Code.RECORD_CHANGED, "signer.pub was changed", of=runs / THIRD)


def _payload(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    made = json.loads((folder / envelope.FILE).read_text())
    said = json.loads(base64.b64decode(made["payload"]))
    change(said)
    made["payload"] = base64.b64encode(json.dumps(said).encode()).decode()
    (folder / envelope.FILE).write_text(json.dumps(made) + "\n")


def test_the_envelopes_payload_was_changed(runs: Path) -> None:
    _payload(runs / THIRD, lambda said: said["predicate"]["runDetails"]["metadata"].update(finishedOn="2020-01-01"))
    refused(Code.ENVELOPE_WRONG, "its signature does not fit its payload", of=runs / THIRD)


def test_the_envelope_of_another_run(runs: Path) -> None:
    shutil.copy(runs / SECOND / envelope.FILE, runs / THIRD / envelope.FILE)
    refused(Code.ENVELOPE_WRONG, f"that of another run: {SECOND}", of=runs / THIRD)


def test_an_envelope_by_the_attacker(runs: Path, attacker: Path) -> None:
    aside = shutil.copytree(runs / THIRD, runs.parent / "aside" / THIRD)
    sign(aside, attacker)
    shutil.copy(aside / envelope.FILE, runs / THIRD / envelope.FILE)
    refused(Code.ENVELOPE_WRONG, "another key than the manifest", of=runs / THIRD)


def test_an_envelope_on_an_unsigned_run(cluster: Cluster, recorded: Recorded, attacker: Path, runs: Path) -> None:
    unsigned = recorded(Cluster("bare", cluster.root), "2026-11-23T15-09-00Z")
    shutil.copy(runs / THIRD / envelope.FILE, unsigned / envelope.FILE)
    refused(Code.ENVELOPE_WRONG, "it is signed, and the manifest is not", of=unsigned)


# -- what nothing vouches for --------------------------------------------------------------------------------------------


def test_unsigned_where_no_list_exists_is_not_verified(home: Path, recorded: Recorded) -> None:
    folder = recorded(Cluster("bare", home), "2026-11-23T15-09-00Z")
    refused(Code.RECORD_NOT_VOUCHED, "nothing vouches for it", "unsigned", of=folder, exit_code=4)
    code, said = cli("audit", folder, "--remember")
    assert code == 2 and "no key to remember" in said


def test_the_key_first_seen_is_remembered_and_another_is_refused(
    runs: Path, attacker: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A stranger who has no list: nothing vouches, until the key was compared."""
    auditor = tmp_path_factory.mktemp("auditor")
    theirs = shutil.copytree(runs, auditor / "runs" / "lab")
    monkeypatch.setenv("SWARMBOOK_HOME", str(auditor))
    refused(Code.RECORD_NOT_VOUCHED, "no list that knows this key", "--remember", of=theirs / FIRST, exit_code=4)
    assert cli("audit", theirs)[0] == 4
    forged = shutil.copytree(theirs, auditor / "forged")
    rewrite(theirs / THIRD, innocent)
    sign(theirs / THIRD, attacker)
    status, said = cli("audit", theirs)
    assert status == 1 and "the first signed run here by" in said, said
    status, said = cli("audit", theirs / FIRST, "--remember")
    assert status == 0 and "clusters/.records/lab/allowed_signers allows" in said, said
    refused(Code.RECORD_FOREIGN_KEY, "a foreign signature", of=theirs / THIRD)
    code, said = cli("audit", forged / FIRST, "--remember")
    assert code == 2 and "for no cluster" in said and "--cluster NAME" in said


def test_the_list_outlives_the_cluster(runs: Path, cluster: Cluster) -> None:
    cluster.remove()
    assert cli("audit", runs / THIRD)[0] == 0
    rewrite(runs / THIRD, innocent)
    strip(runs / THIRD)
    refused(Code.RECORD_UNSIGNED, "unsigned, where", of=runs / THIRD)


# -- killed runs -------------------------------------------------------------------------------------------------------


def kill(cluster: Cluster, name: str) -> Path:
    """Begin a run that gets no further."""
    from swarmbook.model.results import Chapter

    folder = cluster.root / "runs" / cluster.name / name
    folder.mkdir(parents=True)
    evidence = Evidence(folder, cluster, Signing(cluster))
    evidence.began([Chapter(cluster.root / "none.ipynb", {}, "02", "post_provision")], PARAMETERS)
    return folder


def test_a_killed_run_is_held_by_the_one_after_it(
    runs: Path, cluster: Cluster, recorded: Recorded, started: list[dict[str, Any]]
) -> None:
    killed = kill(cluster, "2026-11-23T15-03-00Z")
    refused(Code.RECORD_UNFINISHED, "killed", of=killed)
    assert cli("audit", runs)[0] == 1, "nothing vouches for it yet"
    recorded(cluster, "2026-11-23T15-04-00Z", signing=Signing(cluster))
    status, said = cli("audit", runs)
    assert status == 0 and "is believed, holds its head" in said, said
    assert cli("run", "--resume", killed)[0] == 0 and len(started) == 1, "this computer saw it begin"
    rewrite(killed, poison)
    refused(Code.RECORD_CHANGED, "not the one that this computer recorded", of=killed)
    assert cli("audit", runs)[0] == 1


def test_what_was_appended_to_a_killed_run_is_not_believed(
    runs: Path, cluster: Cluster, recorded: Recorded, started: list[dict[str, Any]]
) -> None:
    """The chain of an open ledger can be gone on with by anyone: only what this computer noted counts."""
    killed = kill(cluster, "2026-11-23T15-03-00Z")
    recorded(cluster, "2026-11-23T15-04-00Z", signing=Signing(cluster))
    assert cli("audit", runs)[0] == 0
    first = json.loads((killed / FILE).read_text().splitlines()[0])
    poison(first)
    forged = {key: value for key, value in first.items() if key not in ("event", "seq", "prev", "time")}
    Ledger(killed).extend(
        [
            ("run", forged),
            ("chapter", {"number": "91", "name": "cancel", "status": "running"}),
            ("chapter", {"number": "02", "name": "post_provision", "status": "completed"}),
        ]
    )
    assert cli("run", "--resume", killed)[0] == 0
    (begun,) = started
    assert (begun["params"].packages, begun["numbers"], begun["parent"].completed) == ([], ["02"], frozenset())
    status, said = cli("audit", runs)
    assert status == 1 and "lines were added to it since" in said, said


# -- what a run builds on ------------------------------------------------------------------------------------------------


def not_run(code: Code, *words: str, arguments: tuple[object, ...], started: list[dict[str, Any]]) -> None:
    status, said = cli("run", *arguments)
    assert status == 2 and "not believed" in said and all(word in said for word in words), said
    assert not started
    with pytest.raises(UsageError) as caught:
        running.run.main([*map(str, arguments)], standalone_mode=False)
    assert caught.value.code is code and caught.value.next


def test_a_forged_run_is_not_resumed(runs: Path, attacker: Path, started: list[dict[str, Any]]) -> None:
    """The review's last: its parameters ran a command as root on all nodes."""
    whole = shutil.copytree(runs, runs.parent / "whole")
    rewrite(runs / THIRD, poison)
    sign(runs / THIRD, attacker)
    not_run(Code.RECORD_CHANGED, "this computer recorded", arguments=("--resume", runs / THIRD), started=started)
    strip(runs / THIRD)
    not_run(Code.RECORD_CHANGED, arguments=("--resume", runs / THIRD), started=started)
    for name in ("manifest.json", *SIGNED):  # as if it had been killed
        (runs / THIRD / name).unlink(missing_ok=True)
    not_run(Code.RECORD_CHANGED, arguments=("--resume", runs / THIRD), started=started)
    replayed = shutil.copytree(whole / FIRST, runs / "2026-11-23T15-05-00Z")
    not_run(Code.RECORD_REPLAYED, FIRST, arguments=("--resume", replayed), started=started)
    shutil.rmtree(runs.parents[1] / "clusters/.records")  # this computer has seen nothing
    not_run(Code.RECORD_NOT_VOUCHED, "killed before", arguments=("--resume", runs / THIRD), started=started)
    shutil.rmtree(runs / THIRD)
    shutil.copytree(whole / THIRD, runs / THIRD)
    rewrite(runs / THIRD, poison)
    sign(runs / THIRD, attacker)
    not_run(Code.RECORD_FOREIGN_KEY, "a foreign signature", arguments=("--resume", runs / THIRD), started=started)
    strip(runs / THIRD)
    not_run(Code.RECORD_UNSIGNED, "unsigned", arguments=("--resume", runs / THIRD), started=started)


def test_a_run_that_nobody_vouches_for_needs_its_parameters_beside_it(
    runs: Path, home: Path, started: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    copy = shutil.copytree(runs / THIRD, tmp_path_factory.mktemp("sent") / THIRD)
    strip(copy)
    not_run(Code.RECORD_NOT_VOUCHED, "name its parameters", arguments=("--resume", copy), started=started)
    file = home / "params.yaml"
    shutil.rmtree(home / "clusters")
    file.write_text("nodes: [sw1, sw2]\nswarm_managers: 1\n")
    assert cli("run", file, "--resume", copy)[0] == 0 and len(started) == 1
    rewrite(copy, lambda event: event.update(chapters=[{**event["chapters"][0], "number": "91"}]) if event["event"] == "run" else None)  # fmt: skip
    strip(copy)
    started.clear()
    not_run(Code.RECORD_NOT_VOUCHED, "takes a cluster away", arguments=(file, "--resume", copy), started=started)


@pytest.fixture
def plan(home: Path) -> Path:
    (home / "plan.json").write_bytes(Plan("lab", PARAMETERS, {}, (), (), __version__).canonical())
    return home / "plan.json"


def test_a_forged_plan_is_not_applied(
    cluster: Cluster, runs: Path, plan: Path, attacker: Path, home: Path, started: list[dict[str, Any]]
) -> None:
    from swarmbook.record.trust import sign_plan

    not_run(Code.RECORD_NOT_VOUCHED, "unsigned", "--approve sha256:", arguments=("--plan", plan), started=started)
    sign_plan(plan, Signing(cluster))
    assert cli("run", "--plan", plan)[0] == 0 and started.pop()
    Plan("lab", {**PARAMETERS, "packages": ["evil"]}, {}, (), (), __version__).save(plan)
    not_run(Code.RECORD_CHANGED, "does not fit the plan", arguments=("--plan", plan), started=started)
    sign_plan(plan, Signing(Cluster("lab", home / "elsewhere"), str(attacker)))
    not_run(Code.RECORD_FOREIGN_KEY, "no allowed signer of cluster lab", arguments=("--plan", plan), started=started)
    renamed = Plan("shop", {**PARAMETERS, "cluster": "shop"}, {}, (), (), __version__)
    renamed.save(plan)
    sign_plan(plan, Signing(Cluster("shop", home / "elsewhere"), str(attacker)))
    not_run(Code.RECORD_NOT_VOUCHED, "there is none", arguments=("--plan", plan), started=started)


def test_a_plan_in_a_runs_folder_is_held_to_the_run(runs: Path, plan: Path, started: list[dict[str, Any]]) -> None:
    shutil.copy(plan, runs / THIRD / "plan.json")
    not_run(
        Code.RECORD_CHANGED, "plan.json was added", arguments=("--plan", runs / THIRD / "plan.json"), started=started
    )
    strip(runs / THIRD)
    not_run(Code.RECORD_UNSIGNED, arguments=("--plan", runs / THIRD / "plan.json"), started=started)


def test_a_digest_or_the_parameters_stand_for_a_plans_signature(
    plan: Path, home: Path, started: list[dict[str, Any]]
) -> None:
    digest = Plan("lab", PARAMETERS, {}, (), (), __version__).digest
    assert cli("run", "--plan", plan, "--approve", digest)[0] == 0 and started.pop()["approve"] == digest
    (home / "params.yaml").write_text("nodes: [sw1, sw2]\nswarm_managers: 1\n")
    assert cli("run", home / "params.yaml", "--plan", plan)[0] == 0 and started.pop()


# -- a stranger's tools --------------------------------------------------------------------------------------------------


def test_the_envelope_is_verified_from_the_specification_alone(runs: Path) -> None:
    """DSSE v1 and in-toto's Statement v1, written down here again, with nothing of ours."""
    text = (runs / THIRD / "manifest.intoto.jsonl").read_text()
    assert text.endswith("\n") and text.count("\n") == 1
    made = json.loads(text)
    assert made.keys() == {"payloadType", "payload", "signatures"}
    assert made["payloadType"] == "application/vnd.in-toto+json"
    payload = base64.standard_b64decode(made["payload"])
    kind = made["payloadType"].encode("utf-8")
    signed = b" ".join([b"DSSEv1", str(len(kind)).encode(), kind, str(len(payload)).encode(), payload])
    key = load_ssh_public_key((runs / THIRD / "signer.pub").read_bytes())
    assert isinstance(key, Ed25519PublicKey)
    (signature,) = made["signatures"]
    key.verify(base64.standard_b64decode(signature["sig"]), signed)
    pem = load_pem_public_key((runs / THIRD / "signer.pem").read_bytes())
    assert isinstance(pem, Ed25519PublicKey) and pem.public_bytes_raw() == key.public_bytes_raw()
    said = json.loads(payload)
    assert (said["_type"], said["predicateType"]) == (
        "https://in-toto.io/Statement/v1",
        "https://slsa.dev/provenance/v1",
    )
    subjects = {entry["name"]: entry["digest"]["sha256"] for entry in said["subject"]}
    assert "ledger.jsonl" in subjects and "manifest.json" in subjects
    for name, digest in subjects.items():
        seen = subprocess.run(["sha256sum", str(runs / THIRD / name)], capture_output=True, text=True, check=True)
        assert seen.stdout.split()[0] == digest
    definition = said["predicate"]["buildDefinition"]
    assert definition["externalParameters"]["parameters"]["nodes"] == ["sw1", "sw2"]
    assert all("uri" in thing or "digest" in thing for thing in definition["resolvedDependencies"])
    assert said["predicate"]["runDetails"]["builder"]["id"] and definition["buildType"]
    assert definition["internalParameters"]["before"]["run"] == SECOND


def test_dsse_by_the_example_of_its_specification() -> None:
    assert envelope.pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


@pytest.mark.parametrize(("kind", "passphrase"), [("ecdsa", ""), ("ed25519", "a passphrase")])
def test_without_an_envelope_the_run_says_why(
    cluster: Cluster, home: Path, recorded: Recorded, kind: str, passphrase: str
) -> None:
    from swarmbook.record.signing import Unsigned

    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-f", str(home / "odd")], check=True)
    signing = Signing(cluster, str(home / "odd"))
    with pytest.raises(Unsigned, match=r"no ed25519 key|without a passphrase"):
        signing.sign_ed25519(b"m")
    if not passphrase:
        folder = recorded(cluster, THIRD, signing=signing)
        assert not (folder / envelope.FILE).exists() and cli("audit", folder)[0] == 0
