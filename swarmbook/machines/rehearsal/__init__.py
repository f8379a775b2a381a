"""A rehearsal of IBM Cloud Classic (SoftLayer): the same calls on this computer, nothing rented, nothing charged.

::

    cloud = Cloud(MemoryMachines(), faults=[Fault("lost-answer", "Virtual_Guest::createObject", times=1, seconds=2)])
    with Rehearsal(cloud) as rehearsal:
        rehearsal.xmlrpc        # http://127.0.0.1:PORT/xmlrpc/v3.1
        rehearsal.rest          # http://127.0.0.1:PORT/rest/v3.1

What it answers was written down from what the real client (SoftLayer 6.2.9) sends and reads, and from SLDN's pages on
object masks and object filters. It was never compared with the real service: its prices, ids, addresses and most of its
error texts are made up, and say REHEARSAL where a person may meet them.
"""

from swarmbook.machines.rehearsal.account import Account, AccountFile
from swarmbook.machines.rehearsal.cloud import Cloud
from swarmbook.machines.rehearsal.door import USERNAME
from swarmbook.machines.rehearsal.faults import Fault, ServiceError
from swarmbook.machines.rehearsal.machines import Condition, Machines, MemoryMachines
from swarmbook.machines.rehearsal.server import Rehearsal

__all__ = [
    "USERNAME",
    "Account",
    "AccountFile",
    "Cloud",
    "Condition",
    "Fault",
    "Machines",
    "MemoryMachines",
    "Rehearsal",
    "ServiceError",
]
