"""Insights: what the language model writes about a transcript, as durable work of its own."""
