"""`POST /v1/realtime/calls`: a Realtime session over WebRTC, with `aiortc`.

A call is a peer connection with one audio track in each direction and the data channel `oai-events`. The channel
carries the events of the WebSocket (`data_channel.DataChannel` looks like one), except for sound: the caller's track
is heard (`microphone`), and the replies are played on ours (`speaker`).
"""
