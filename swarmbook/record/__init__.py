"""What happened: a run's folder, read back, sealed, audited, compared and shown."""
