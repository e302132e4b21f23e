"""Twilio Media Streams: `POST /twilio/voice` answers a call with TwiML that opens `WS /twilio/media`, its sound."""
