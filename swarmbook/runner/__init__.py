"""Executing the book: the papermill engine, the run over all chapters, and what a terminal sees."""
