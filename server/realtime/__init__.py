"""`WS /v1/realtime`: the OpenAI Realtime API (GA) over WebSocket. `docs/realtime.md` lists the supported parts.

A client event is parsed into the `openai` package's own type and passed to its handler (`handlers`). The events of the
session (`pipeline.conversation.session`) are translated (`translation`, `responses`). This package makes no decisions.
"""
