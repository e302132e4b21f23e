"""TwiML, the XML that says what Twilio does with a call."""

HEAD = '<?xml version="1.0" encoding="UTF-8"?>'
BUSY = f'{HEAD}<Response><Reject reason="busy"/></Response>'
"""Rejects a call; the caller hears the busy tone."""
VOICE = "/twilio/voice"
"""The path at which Twilio asks for it."""
MEDIA_TYPE = "text/xml"
