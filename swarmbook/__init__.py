"""An executable runbook: from nothing to a MariaDB Galera cluster on a Docker Swarm with Consul."""

__version__ = "0.1.0"
