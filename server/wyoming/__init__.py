"""The Wyoming protocol (Home Assistant's voice): recognition, speech and answers over one TCP port of their own."""
