"""The environment of processes that the service starts: what their libraries read, and no secret.

Settings do not travel in the environment: an engine gets what it needs in its config (`EngineSpec`), tokens included.
"""

import os
import re
from collections.abc import Mapping

from pipeline.settings import SECRET

NAMES = frozenset(
    {
        "PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP", "TERM", "VIRTUAL_ENV",
        "NO_PROXY", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "COQUI_TOS_AGREED", "TTS_HOME", "TOKENIZERS_PARALLELISM",
        "HF_HOME", "HF_ENDPOINT", "FONTCONFIG_PATH", "PROJ_LIB",
    }
)  # fmt: skip
"""Variables that are handed on, in capitals."""
FAMILIES = (
    "LC_", "LD_", "XDG_", "SSL_CERT_", "MALLOC_", "GLIBC_", "PYTHON",
    "OMP_", "KMP_", "GOMP_", "MKL_", "OPENBLAS_", "BLIS_", "NUMEXPR_", "VECLIB_",
    "CUDA_", "CUDNN_", "CUBLAS_", "NVIDIA_", "NCCL_", "ROCR_", "HIP_",
    "TORCH", "PYTORCH_", "TRITON_", "CT2_", "ORT_", "NUMBA_", "MPL", "HF_HUB_", "ESPEAK_",
)  # fmt: skip
"""How further variables begin that are handed on: of the loader, the C library, numerical libraries, and GPUs."""
PROXIES = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"})
"""Handed on to processes that download: their addresses may have a password."""
PASSWORD = re.compile(r"passw|passphrase|credential|authorization|headers", re.IGNORECASE)
"""Names of secrets, beside those that `pipeline.settings.SECRET` finds."""
USER_INFO = re.compile(r"://[^/\s]*@")
"""An address with a user's name or password in it."""


def clean_environment(*, downloads: bool = False, **more: str) -> dict[str, str]:
    """A copy of this process's environment for a child: only variables of the lists above, and of those none that has
    the name of a secret or an address with a password.

    downloads: the child reaches servers by itself, through the proxies. more: variables that the caller adds.
    """
    return {**_allowed(os.environ, downloads=downloads), **more}


def _allowed(environment: Mapping[str, str], *, downloads: bool) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in environment.items():
        capitals = name.upper()  # proxies are named in small letters, too
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
