"""What every layer stands on: errors, waiting, files, secrets and their masking."""
