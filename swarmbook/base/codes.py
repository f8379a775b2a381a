"""The code of every error: what programs, known failures and tests go by, while its sentences may be reworded freely."""

from __future__ import annotations

from enum import Enum

__all__ = ["Code"]


class Code(str, Enum):
    """What went wrong, as data.

    The first group is what each class of error carries by default (:mod:`swarmbook.base.errors`); the others are given
    where an error is raised (``code=Code.DISK_NOT_EMPTY``). A misspelt one is refused by mypy, and when the error is made.
    """

    # By class.
    FAILED = "failed"
    CHECK_FAILED = "check-failed"
    USAGE = "usage"
    PARAMETERS_WRONG = "parameters-wrong"
    NOT_CONFIRMED = "not-confirmed"
    OUT_OF_ORDER = "out-of-order"
    UNEXPECTED = "unexpected"
    ENGINE_UNAVAILABLE = "engine-unavailable"
    HOST_UNREACHABLE = "host-unreachable"
    LOGIN_REFUSED = "login-refused"
    HOST_KEY_CHANGED = "host-key-changed"
    COMMAND_FAILED = "command-failed"
    FOREIGN_DATA = "foreign-data"
    PROVIDER_FAILED = "provider-failed"
    ORDER_UNCERTAIN = "order-uncertain"
    LOCK_HELD = "lock-held"
    PLAN_MISMATCH = "plan-mismatch"
    WAIT_TIMEOUT = "wait-timeout"
    INTERRUPTED = "interrupted"

    # Before anything is touched.
    APPROVED_ANOTHER_PLAN = "approved-another-plan"
    BOOK_NOT_HERE = "book-not-here"
    CLUSTER_NOT_THERE = "cluster-not-there"
    CLUSTER_STILL_THERE = "cluster-still-there"
    SETTINGS_REFUSED = "settings-refused"
    NO_DOWNGRADE = "no-downgrade"
    INIT_SCRIPTS_REFUSED = "init-scripts-refused"
    INIT_SCRIPTS_NOT_THERE = "init-scripts-not-there"
    NODE_TAKEN_OUT = "node-taken-out"
    GATE_CLOSED = "gate-closed"
    ROLLING_UNDER_WAY = "rolling-under-way"
    NOBODY_SERVES = "nobody-serves"
    DRILL_NEEDS_LAB = "drill-needs-lab"
    RECOVERY_UNDECIDED = "recovery-undecided"
    MEMBERS_NOT_SYNCED = "members-not-synced"
    NODE_UNKNOWN = "node-unknown"
    NO_COPY_OF_THE_BOOK = "no-copy-of-the-book"
    PARAMETERS_NOT_READ = "parameters-not-read"
    SECRET_NOT_THERE = "secret-not-there"  # noqa: S105 - a code, not a secret
    SECRET_UNFIT = "secret-unfit"  # noqa: S105 - likewise

    # This computer, and what libraries say there.
    DATABASE_FAILED = "database-failed"
    FILE_FAILED = "file-failed"
    MODULE_SHADOWED = "module-shadowed"
    NOTEBOOK_FAILED = "notebook-failed"
    NOT_TEXT = "not-text"
    NOT_UNDERSTOOD = "not-understood"
    NO_ANSWER = "no-answer"
    NO_ROOM_HERE = "no-room-here"
    OWN_FAULT = "own-fault"
    PROGRAM_FAILED = "program-failed"
    TOO_MANY_FILES = "too-many-files"

    # What a record is worth.
    ENVELOPE_WRONG = "envelope-wrong"
    RECORD_CHANGED = "record-changed"
    RECORD_FOREIGN_KEY = "record-foreign-key"
    RECORD_NOT_READ = "record-not-read"
    RECORD_NOT_VOUCHED = "record-not-vouched"
    RECORD_OF_ANOTHER_CLUSTER = "record-of-another-cluster"
    RECORD_REPLAYED = "record-replayed"
    RECORD_UNFINISHED = "record-unfinished"
    RECORD_UNSIGNED = "record-unsigned"
    RUN_BEFORE_DIFFERS = "run-before-differs"
    RUN_BEFORE_MISSING = "run-before-missing"

    # What a host says.
    ANSWER_REFUSED = "answer-refused"
    OUTPUT_TOO_LONG = "output-too-long"

    # Machines.
    ADDRESS_UNKNOWN = "address-unknown"
    CAPABILITIES_REFUSED = "capabilities-refused"
    CLEARTEXT_REFUSED = "cleartext-refused"
    COMMAND_KILLED = "command-killed"
    COMMAND_TIMED_OUT = "command-timed-out"
    CONNECTION_BROKE = "connection-broke"
    CREDENTIALS_MISSING = "credentials-missing"
    CREDENTIALS_REFUSED = "credentials-refused"
    ENGINE_NOT_THERE = "engine-not-there"
    FORWARDING_REFUSED = "forwarding-refused"
    HOST_KEY_NOT_PINNED = "host-key-not-pinned"
    HOST_OFF = "host-off"
    INSTANCE_TWICE = "instance-twice"
    INSTANCE_SILENT = "instance-silent"
    INVENTORY_NOT_READ = "inventory-not-read"
    JUMP_OR_ADDRESS_WRONG = "jump-or-address-wrong"
    KEY_GONE = "key-gone"
    LAB_PORT_TAKEN = "lab-port-taken"
    LAB_OF_ANOTHER_FOLDER = "lab-of-another-folder"
    LOGIN_NOT_YET = "login-not-yet"
    LOGIN_RUNS_NOTHING = "login-runs-nothing"
    MACHINE_ID_MISSING = "machine-id-missing"
    NOT_OFFERED = "not-offered"
    PACKAGES_LOCKED = "packages-locked"
    PROVIDER_SAYS_NO = "provider-says-no"
    RATE_LIMITED = "rate-limited"
    SSH_AGENT_LACKS_KEY = "ssh-agent-lacks-key"
    SSH_CONFIG_UNCLEAR = "ssh-config-unclear"
    SSH_KEY_NOT_READ = "ssh-key-not-read"
    SSH_KEY_UNUSABLE = "ssh-key-unusable"
    STARTS_YET = "starts-yet"
    SUDO_ASKS = "sudo-asks"
    WALL_TAKEN_BACK = "wall-taken-back"

    # Rows of the preflight.
    CLOCKS_DIFFER = "clocks-differ"
    NAME_DIFFERS = "name-differs"
    PACKETS_TOO_LARGE = "packets-too-large"
    PORTS_CLOSED = "ports-closed"
    PORTS_OPEN = "ports-open"
    PORT_HELD = "port-held"

    # Disks and engines.
    BUILD_FAILED = "build-failed"
    DISK_FULL = "disk-full"
    DISK_NOT_EMPTY = "disk-not-empty"
    ENGINE_DOES_NOT_START = "engine-does-not-start"
    ENGINE_SAYS_NO = "engine-says-no"
    MOUNT_POINT_TAKEN = "mount-point-taken"
    ENGINE_IN_A_SWARM = "engine-in-a-swarm"
    SWARM_LOCKED = "swarm-locked"
    ENGINE_SETTINGS_NOT_READ = "engine-settings-not-read"
    ENGINE_SETTINGS_RULE_OUT = "engine-settings-rule-out"
    IMAGE_NOT_TAKEN = "image-not-taken"
    NOT_FOUND = "not-found"

    # Swarm, Consul, network, members.
    CONSUL_PORT_TAKEN = "consul-port-taken"
    FOUNDING_FAILED = "founding-failed"
    MEMBER_DOWN = "member-down"
    MEMBER_PORT_TAKEN = "member-port-taken"
    NO_WRITER = "no-writer"
    BACKUP_FAILED = "backup-failed"
    MOMENT_BEHIND_GAP = "moment-behind-gap"
    MOMENT_OUTSIDE = "moment-outside"
    RESTIC_NOT_HERE = "restic-not-here"
    REPOSITORY_FAILED = "repository-failed"
    REPOSITORY_LOCKED = "repository-locked"
    REPOSITORY_NOT_THERE = "repository-not-there"
    REPOSITORY_PASSWORD = "repository-password"  # noqa: S105 - a code, not a secret
    RESTORE_NO_ROOM = "restore-no-room"
    SNAPSHOT_DAMAGED = "snapshot-damaged"
    SNAPSHOT_OF_ANOTHER = "snapshot-of-another"
    SNAPSHOT_OF_ANOTHER_SERIES = "snapshot-of-another-series"
    SNAPSHOT_UNKNOWN = "snapshot-unknown"
    STANDBY_CANNOT_READ = "standby-cannot-read"
    STANDBY_LAGS = "standby-lags"
    STANDBY_NOT_SEEDED = "standby-not-seeded"
    STANDBY_OF_NOTHING = "standby-of-nothing"
    SUBNET_TAKEN = "subnet-taken"
    WRITER_NOT_SYNCED = "writer-not-synced"

    def __str__(self) -> str:
        return self.value
