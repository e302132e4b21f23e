"""The voice pipeline: listening, language model and speech. Imports no web framework and no database."""

import os

# Switch telemetry off, so that nothing leaves this machine. onnxruntime reports a device id to its vendor from the
# first model it loads; huggingface_hub adds details of its environment to its requests. Both read their variable only
# once, so it must be set before either is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

# numpy's BLAS splits a product among all cores, and its threads then spin for 100 ms in case of another one. The
# products here are small (a millisecond), so that those threads took a third of a core from each busy model.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Reach local servers such as Ollama directly, whatever HTTP_PROXY says.
for _name in ("NO_PROXY", "no_proxy"):
    os.environ[_name] = ",".join(filter(None, [os.environ.get(_name, ""), "localhost,127.0.0.1,::1"]))
