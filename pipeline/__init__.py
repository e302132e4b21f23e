"""What Parley does: listen, think, speak. No web framework and no database in here."""

import os

# What is said here stays here. onnxruntime keeps a device id and reports to its maker from the first model it loads;
# the hub's client adds to its requests what runs it. Both ask their variable once, so it is set before either.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

# A proxy is for what is far away: Ollama on this machine is asked directly, whatever HTTP_PROXY says.
for _name in ("NO_PROXY", "no_proxy"):
    os.environ[_name] = ",".join(filter(None, [os.environ.get(_name, ""), "localhost,127.0.0.1,::1"]))
