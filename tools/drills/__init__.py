"""Drills: faults that are done to a lab while an application works, and what was seen of each."""
