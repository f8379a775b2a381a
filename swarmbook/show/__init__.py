"""How facts look: tables, drawings, widgets, progress."""
