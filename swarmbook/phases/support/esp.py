"""Whether a kernel has what an encrypted overlay needs: an engine makes one without it all the same, and no packet passes."""

from __future__ import annotations

from swarmbook.access.commands import sh

__all__ = ["HAS_ESP"]

#: Succeeds where the kernel takes a state as the engine makes them: ESP, AES-GCM with a checksum of 64 bits, a mark. It is asked in a
#: network namespace of its own, which goes with the command; the key opens nothing.
HAS_ESP = sh(
    "unshare --net ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1 mode transport "
    "aead 'rfc4106(gcm(aes))' 0x0102030405060708090a0b0c0d0e0f1011121314 64 >/dev/null 2>&1"
)
