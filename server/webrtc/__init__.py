"""Calls over WebRTC, with `aiortc`: the transport of `POST /v1/realtime/calls` and `POST /ws/call`.

A call is a peer connection with one audio track in each direction and the data channel `oai-events`. The channel
carries the messages that the protocol otherwise sends over a WebSocket (`data_channel.DataChannel` looks like one),
except for sound: the caller's track is heard, and the replies are played on ours (`tracks.Tracks`).
"""
