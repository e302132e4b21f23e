"""Text into speech: clauses, normalisation and synthesis."""
