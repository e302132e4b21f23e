"""Run schemathesis over the whole OpenAPI document, without a key and with one.

    python -m bench.openapi_fuzz [--seconds 60] [--schemathesis PATH]

Needs schemathesis (`pip install schemathesis==4.32.5` in a separate environment, because Parley does not need it). The
service under test has its own process and folder, its embedded engines, and no rate limits. Checks: no response is 5xx
except the documented 502 to 504, each response matches the document, and without a key every operation except the open
ones is refused. Afterwards the service must still respond, and none of its processes may have ended.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import httpx

from tests.server_process import ServerProcess, constants, serving

KEY = "fuzz-" + "k" * 40
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
EXPECTED = ["2xx", "3xx", "4xx", 502, 503, 504, 507]
"""No other status is correct, documented or not; of these, an undocumented one fails `status_code_conformance`."""
LIMITS = {
    "API_KEYS": KEY,
    "RATE_LIMIT": "none",
    "MAX_FILE_SIZE": "2MB",
    **constants({"jobs.run:RETRY_S": 1.0}),
}


def run(tool: str, server: ServerProcess, seconds: int, key: str | None) -> tuple[int, str]:
    """Exit code and output."""
    settings = Path(tempfile.gettempdir(), "schemathesis.toml")
    settings.write_text(f"[checks]\nnot_a_server_error.expected-statuses = {json.dumps(EXPECTED)}\n")
    command = [
        tool, "--config-file", str(settings), "run", f"{server.url}/openapi.json", "--checks", CHECKS,
        "--max-time", str(seconds), "--workers", "2",
        "--phases", "coverage,fuzzing,stateful", "--continue-on-failure", "--request-timeout", "60",
        "--suppress-health-check", "all", "--no-color",
    ]  # fmt: skip
    if key:
        command += ["-H", f"Authorization: Bearer {key}"]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tempfile.gettempdir(), check=False)
    return ended.returncode, ended.stdout + ended.stderr


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=60, help="seconds of each run")
    parser.add_argument("--schemathesis", default=shutil.which("schemathesis"))
    options = parser.parse_args()
    if not options.schemathesis:
        sys.exit("schemathesis is not installed: pip install schemathesis==4.32.5")
    failed = False
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), **LIMITS) as server:
        before = {process.pid for process in server.workers()}
        for name, key in (("without a key", None), ("with a key", KEY)):
            code, said = run(options.schemathesis, server, options.seconds, key)
            failed |= code != 0
            print(f"--- {name}: exit code {code}")
            print(said[said.rfind("= SUMMARY") :] if "= SUMMARY" in said else said[-4000:])
            for failure, times in Counter(re.findall(r"^- (.*)$", said, re.MULTILINE)).most_common():
                print(f"{times:6d}  {failure}")
            (Path(tempfile.gettempdir()) / f"schemathesis-{'key' if key else 'anonymous'}.txt").write_text(said)
        assert httpx.get(f"{server.url}/health", timeout=30).status_code == 200
        print(f"processes that ended: {len(before - {process.pid for process in server.workers()})}")
        print(f"tracebacks in the log: {server.text.count('Traceback')}")
        Path(tempfile.gettempdir(), "schemathesis-server.log").write_text(server.text)
    sys.exit(failed)


if __name__ == "__main__":
    main()
