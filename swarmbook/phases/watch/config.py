"""What Prometheus is given: whom it asks, found through Consul, and what wakes a person. Texts, made of the parameters alone."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Any

import yaml

from swarmbook.params import Params
from swarmbook.phases.support.members import watch_service, watch_stack

__all__ = ["JOBS", "certificate_days", "node_targets", "prometheus_yml", "rules_yaml"]

#: What is asked: node exporters, members' agents, members by the mysqld exporter, Consul's servers.
JOBS = ("node", "member", "mysqld", "consul")
_PLACE = re.compile(r"@\{(\w+)\}")
_TOKEN = "/run/secrets/consul_token"  # noqa: S105 - where it lies
_CA = "/etc/swarmbook/consul-ca/consul-ca.pem"


def node_targets(params: Params) -> str:
    """Return the name under which Consul lists the node exporters."""
    return f"{watch_stack(params)}-node"


def certificate_days(params: Params) -> int:
    """Return from how many days on a certificate wakes someone: a run renews it before that."""
    return min(14, params.certificate_renew_days // 2)


def rules_yaml(params: Params) -> str:
    """Return the rules: ``rules.yaml``, with the parameters put in."""
    values: dict[str, object] = {
        "for": f"{params.watch_alert_for}s",
        "members": len(params.members()),
        "managers": len(params.managers()),
        "days": certificate_days(params),
    }
    text = files("swarmbook.phases.watch").joinpath("rules.yaml").read_text("utf-8")
    body = text.partition("\ngroups:\n")[2]
    return "groups:\n" + _PLACE.sub(lambda place: str(values[place[1]]), body)


def prometheus_yml(params: Params) -> str:
    """Return Prometheus's settings.

    Targets are what Consul lists, whatever state they are in: one that is down is asked, and found down. One whose node has left is
    listed no more. Debian's Prometheus is built without its own discovery through Consul, so ``watch-targets`` of its image asks.
    """
    ask: dict[str, dict[str, Any]] = {
        "node": {},
        "member": {},
        # The target is asked for by its name, which is the one in its certificate; who asks it is the exporter.
        "mysqld": {
            "metrics_path": "/probe",
            "relabel_configs": [
                {"source_labels": ["__address__"], "target_label": "__param_target"},
                {"target_label": "__address__", "replacement": f"{watch_service(params, 'mysqld-exporter')}:9104"},
            ],
        },
        "consul": {
            "scheme": "https",
            "metrics_path": "/v1/agent/metrics",
            "params": {"format": ["prometheus"]},
            "authorization": {"credentials_file": _TOKEN},
            "tls_config": {"ca_file": _CA},
        },
    }
    jobs = [
        {
            "job_name": job,
            "file_sd_configs": [{"files": [f"/run/watch/{job}.json"], "refresh_interval": "30s"}],
            **ask[job],
        }
        for job in JOBS
    ]
    every = f"{params.watch_interval}s"
    settings = {
        "global": {
            "scrape_interval": every,
            "scrape_timeout": f"{min(params.watch_interval, 10)}s",
            "evaluation_interval": every,
            "external_labels": {"cluster": params.cluster},
        },
        "rule_files": ["/etc/swarmbook/rules.yaml"],
        "scrape_configs": jobs,
    }
    return yaml.safe_dump(settings, sort_keys=False)
