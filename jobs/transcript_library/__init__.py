"""The transcripts of a caller as a library: full-text search, tags, pins, names, and changes of several at once."""
