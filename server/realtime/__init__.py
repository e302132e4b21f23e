"""`WS /v1/realtime`: the OpenAI Realtime API (GA) over WebSocket. What of it is there: `docs/realtime.md`.

A client event is parsed into the `openai` package's own type and given to its handler (`handlers`); what happens in the
session (`pipeline.session`) is translated (`translation`, `responses`). Nothing is decided here.
"""
