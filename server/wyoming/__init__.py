"""The Wyoming protocol of Home Assistant: speech recognition, speech synthesis and replies on a separate TCP port."""
