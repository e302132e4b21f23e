"""Telephone calls: Twilio Media Streams (`twilio/`) and Asterisk's AudioSocket (`audiosocket/`).

A call is a live conversation (`call.Call`) whose replies are played on a line (`call.Line`). A line knows how much of a
reply the user has heard, and is silent at once when the user speaks.
"""
