"""The live conversation: sessions, turns, replies and their history."""
