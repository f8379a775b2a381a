"""The phases: one folder or file each, what their steps share in support, and the planner over all."""
