"""What Parley does: listen, think, speak. No web framework and no database in here."""

import os

# What is said here stays here. onnxruntime keeps a device id and reports to its maker from the first model it loads;
# the hub's client adds to its requests what runs it. Both ask their variable once, so it is set before either.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
