"""What the book talks about, as frozen typed data: checks, changes, plans, events, results."""
