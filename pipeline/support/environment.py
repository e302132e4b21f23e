"""The environment for processes that the service starts: variables that their libraries read, and no secrets.

Settings are not passed in the environment: an engine gets them in its config (`EngineSpec`), including tokens.
"""

import os
import re
from collections.abc import Mapping

NAMES = frozenset(
    {
        "PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP", "TERM", "VIRTUAL_ENV",
        "NO_PROXY", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "COQUI_TOS_AGREED", "TTS_HOME", "TOKENIZERS_PARALLELISM",
        "HF_HOME", "HF_ENDPOINT", "FONTCONFIG_PATH", "PROJ_LIB",
    }
)  # fmt: skip
"""Variables that are passed on, in capitals."""
FAMILIES = (
    "LC_", "LD_", "XDG_", "SSL_CERT_", "MALLOC_", "GLIBC_", "PYTHON",
    "OMP_", "KMP_", "GOMP_", "MKL_", "OPENBLAS_", "BLIS_", "NUMEXPR_", "VECLIB_",
    "CUDA_", "CUDNN_", "CUBLAS_", "NVIDIA_", "NCCL_", "ROCR_", "HIP_",
    "TORCH", "PYTORCH_", "TRITON_", "CT2_", "ORT_", "NUMBA_", "MPL", "HF_HUB_", "ESPEAK_",
)  # fmt: skip
"""Prefixes of further variables that are passed on: of the loader, the C library, numerical libraries, and GPUs."""
SECRET = re.compile(r"(keys?|secret|token|token_id|database_url|redis_url|webhook_url|ice_servers)$", re.IGNORECASE)
"""Names of settings whose values are never shown."""
PROXIES = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"})
"""Passed on only to processes that download, because their addresses can contain a password."""
PASSWORD = re.compile(r"passw|passphrase|credential|authorization|headers", re.IGNORECASE)
"""Names of secrets, in addition to those that match SECRET."""
USER_INFO = re.compile(r"://[^/\s]*@")
"""An address with a user name or password."""


def clean_environment(*, downloads: bool = False, **more: str) -> dict[str, str]:
    """Copy this process's environment for a child: only variables of the lists above, without those that have the name
    of a secret or an address with a password.

    downloads: whether the child contacts servers itself, through the proxies. more: further variables.
    """
    return {**_allowed(os.environ, downloads=downloads), **more}


def _allowed(environment: Mapping[str, str], *, downloads: bool) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in environment.items():
        capitals = name.upper()  # proxy variables can be lower-case, too
        if capitals in PROXIES:
            if downloads:
                found[name] = value
        elif (
            (capitals in NAMES or capitals.startswith(FAMILIES))
            and not SECRET.search(name)
            and not PASSWORD.search(name)
            and not USER_INFO.search(value)
        ):
            found[name] = value
    return found
