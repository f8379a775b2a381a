"""How a cluster is now and why something failed: status, board, logs, symptoms."""
