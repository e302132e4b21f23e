"""Child processes of the service never have the deployment's secrets."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.settings import Settings
from pipeline.support.environment import SECRET, clean_environment
from tests.server_process import serving

MARK = "never-for-a-child"
SECRETS = {
    "API_KEYS": f"anna:admin:{MARK}-0123456789abcdef",
    "JWT_SECRET": f"{MARK}-jwt-0123456789abcdefghijkl",
    "DATABASE_URL": f"sqlite:///data/{MARK}.db",
    "POSTGRES_PASSWORD": f"{MARK}-postgres",
    "PGPASSWORD": f"{MARK}-pg",
    "WEBHOOK_SECRET": "whsec_bmV2ZXItZm9yLWEtY2hpbGQtMDEyMzQ1Njc4OWFi",
    "HF_TOKEN": f"hf_{MARK}",
    "HUGGING_FACE_HUB_TOKEN": f"hf_{MARK}",
    "LLM_OPENAI_KEY": f"sk-{MARK}-llm",
    "OPENAI_API_KEY": f"sk-{MARK}",
    "MODAL_TOKEN_ID": f"{MARK}-id",
    "MODAL_TOKEN_SECRET": f"{MARK}-modal",
    "TRIGGER_SECRET_KEY": f"{MARK}-trigger",
    "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer {MARK}",
    "AWS_SECRET_ACCESS_KEY": f"{MARK}-aws",
    "NVIDIA_API_KEY": f"{MARK}-nvidia",
    "HTTPS_PROXY": f"http://user:{MARK}@127.0.0.1:9",
    "https_proxy": f"http://user:{MARK}@127.0.0.1:9",
    "HF_ENDPOINT": f"http://user:{MARK}@127.0.0.1:9",
    "SOMETHING_ELSE": MARK,
}


def test_no_child_of_a_running_service_has_a_secret(tmp_path: Path) -> None:
    with serving(tmp_path, **SECRETS, OMP_WAIT_POLICY="PASSIVE") as server:
        own = Path(f"/proc/{server.process.pid}/environ").read_bytes()
        assert own.count(MARK.encode()) >= 19  # the service itself has them
        children = server.workers()
        assert len(children) >= 2
        for child in children:
            inherited = Path(f"/proc/{child.pid}/environ").read_bytes()
            assert MARK.encode() not in inherited
            assert SECRETS["WEBHOOK_SECRET"].encode() not in inherited
            assert b"OMP_WAIT_POLICY=PASSIVE" in inherited  # settings that a model's library reads


def test_no_setting_with_a_secret_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        if SECRET.search(name):
            monkeypatch.setenv(name.upper(), MARK)
            monkeypatch.setenv(f"{name.upper()}_FILE", MARK)
    assert MARK not in "".join(clean_environment(downloads=True).values())


def test_only_a_child_that_downloads_gets_the_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", f"http://user:{MARK}@proxy")
    assert "https_proxy" not in clean_environment()
    assert clean_environment(downloads=True)["https_proxy"] == os.environ["https_proxy"]
    assert clean_environment(NAME="given")["NAME"] == "given"


def test_numpy_starts_no_threads_that_spin() -> None:
    """Threads of BLAS would take a third of a core from each busy model. A number that the user has set is kept."""
    code = (
        "import os, pipeline, numpy as np; np.ones((500, 500)) @ np.ones((500, 500));"
        "print(len(os.listdir('/proc/self/task')), os.environ['OPENBLAS_NUM_THREADS'])"
    )

    def told(**own: str) -> list[str]:
        unset = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
        ran = subprocess.run([sys.executable, "-c", code], env=unset | own, check=True, capture_output=True, text=True)
        return ran.stdout.split()

    assert told() == ["1", "1"]
    assert told(OPENBLAS_NUM_THREADS="3")[1] == "3"
