"""Bills of materials, held against CycloneDX's own schema by its own library."""

from __future__ import annotations

import json
from importlib import metadata
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from swarmbook.machines.images.contents import PACKAGES, image_sbom, pack
from swarmbook.machines.images.labels import BASE
from swarmbook.model.sbom import Component, Subject, cyclonedx
from swarmbook.record.environment import python_sbom

PURLS = [
    "pkg:deb/debian/libzstd1@1%3A1.5.7%2Bdfsg-1?arch=amd64&distro=debian-13",
    "pkg:generic/hashicorp/consul@1.22.5",
]


def faults(text: str) -> Any:
    return JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)


def test_an_images_bill_is_as_the_schema_wants_it() -> None:
    labels = {PACKAGES: pack(PURLS), BASE: "debian@sha256:" + "0" * 64}
    text = image_sbom("swarmbook/consul:0123456789ab-abababababab", "ab" * 32, labels)
    assert faults(text) is None
    bill = json.loads(text)
    about = bill["metadata"]["component"]
    assert (about["name"], about["version"]) == ("swarmbook/consul", "0123456789ab-abababababab")
    assert about["hashes"] == [{"alg": "SHA-256", "content": "ab" * 32}]
    assert about["properties"] == [{"name": "swarmbook:base", "value": "debian@sha256:" + "0" * 64}]
    assert [(c["name"], c["version"], c["purl"]) for c in bill["components"]] == [
        ("libzstd1", "1:1.5.7+dfsg-1", PURLS[0]),
        ("consul", "1.22.5", PURLS[1]),
    ]
    assert image_sbom("swarmbook/consul:1-2", "", {}) == "", "an image without a list has no bill"


def test_the_environments_bill_names_every_distribution_with_its_version() -> None:
    text = python_sbom()
    assert faults(text) is None
    found = {c["purl"] for c in json.loads(text)["components"]}
    for name in ("papermill", "cryptography", "PyYAML", "SoftLayer"):
        assert f"pkg:pypi/{name.lower()}@{metadata.version(name)}" in found
    assert len(found) == len({d.metadata["Name"].lower().replace("_", "-").replace(".", "-") for d in metadata.distributions()} - {"swarmbook"})  # fmt: skip


def test_the_validator_finds_what_is_wrong() -> None:
    bill = cyclonedx(Subject("container", "a", "1"), [])
    assert faults(json.dumps(bill)) is None
    assert faults(json.dumps({**bill, "serialNumber": "urn:uuid:x"})) is not None
    assert faults(json.dumps({**bill, "invented": 1})) is not None


def test_the_same_things_are_the_same_bill() -> None:
    a, b = Component.from_purl(PURLS[0]), Component.python("ruamel.yaml_x", "1.0+local")
    assert b.purl == "pkg:pypi/ruamel-yaml-x@1.0%2Blocal"
    subject = Subject("application", "swarmbook", "1")
    assert cyclonedx(subject, [a, b, a]) == cyclonedx(subject, [b, a])
    assert cyclonedx(subject, [a])["serialNumber"] != cyclonedx(subject, [b])["serialNumber"]


@pytest.mark.parametrize("purl", ["", "consul", "pkg:deb/debian/consul", "pkg:deb/@1"])
def test_what_is_no_package_url_is_refused(purl: str) -> None:
    with pytest.raises(ValueError, match="no package URL"):
        Component.from_purl(purl)
