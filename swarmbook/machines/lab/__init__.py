"""The lab: machines as containers on a Docker Engine of this computer."""
