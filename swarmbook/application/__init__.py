"""A small application: transfers between accounts, by several connections; what was acknowledged is kept outside the database, and held against it."""
