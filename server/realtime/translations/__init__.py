"""The Realtime translations of OpenAI, `/v1/realtime/translations`: a client's events → `pipeline.translation` → server
events."""
