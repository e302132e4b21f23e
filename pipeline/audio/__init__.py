"""Audio: clips, decoding, encoding and speed."""
