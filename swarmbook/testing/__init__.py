"""Fakes that tests and users share; they speak the real wire protocols, and are themselves tested against the real clients."""
