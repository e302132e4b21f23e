"""Asterisk's AudioSocket: a TCP connection for each call, on its own port."""
