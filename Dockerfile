# Parley's image: docs/docker.md. Stage `build` installs and compiles; the image itself gets only the results.
ARG BASE=python:3.11-slim-bookworm@sha256:528257d48c1da0dcecc2e725d1ae34498d60c965f1241e39cd6a85a8859bdf84

# hadolint ignore=DL3006
FROM ${BASE} AS build
# cpu, or cuda, which adds the libraries that Whisper needs on an NVIDIA GPU.
ARG VARIANT=cpu
# Additional engines: xtts, pocket or "xtts,pocket".
ARG EXTRAS=""
# Index for PyTorch without CUDA, for the extras.
ARG TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /app
COPY . .
# The base image's pip installs into the environment, which therefore contains no pip. Each file must have a hash from
# requirements.lock; only PyTorch is installed by version, from its own index, which has other files than the default
# one. Tests in packages are removed. Bytecode is kept, because the image's user cannot write it.
# hadolint ignore=DL3013
RUN set -eu; \
    python3 -m venv --without-pip /opt/venv; \
    install() { python3 -m pip --python /opt/venv/bin/python install "$@"; }; \
    locked() { \
        python3 deploy/locked.py "$@" > /tmp/wanted.txt; \
        install --require-hashes --no-deps --no-build-isolation -r /tmp/wanted.txt; \
    }; \
    locked --only build; \
    locked "$EXTRAS"; \
    if [ "$VARIANT" = cuda ]; then locked --only cuda; fi; \
    case "$EXTRAS" in *xtts*|*pocket*|*align*|*speakers*) \
        if [ "$VARIANT" = cuda ]; then install -c constraints.txt torch; \
        else install -c constraints.txt --no-deps --index-url "$TORCH_INDEX_URL" torch; fi;; esac; \
    packages=$(/opt/venv/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))"); \
    find "$packages" -depth -type d -name tests \( -path '*/numpy/*' -o -path '*/scipy/*' -o -path '*/sklearn/*' \
        -o -path '*/numba/*' -o -path '*/matplotlib/*' -o -path '*/networkx/*' -o -path '*/sympy/*' \) \
        -exec rm -rf {} +; \
    ln -s "$packages/nvidia/cublas/lib" /opt/venv/cuda; \
    python3 -m compileall -q .; \
    rm -rf deploy constraints.txt requirements.lock


# hadolint ignore=DL3006
FROM ${BASE}
LABEL org.opencontainers.image.title="Parley" \
      org.opencontainers.image.description="A self-hosted voice assistant: you speak, it answers." \
      org.opencontainers.image.licenses="MIT"
# Group 0 can write, too, for platforms that run an image under an arbitrary user.
RUN useradd --uid 10001 --gid 0 --home-dir /app/models --no-create-home --shell /usr/sbin/nologin parley \
    && install -d -o 10001 -g 0 -m 2775 /app/models /app/data
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
# All writes go to the volumes or to /tmp, so that the image runs with a read-only root file system.
ENV PATH=/opt/venv/bin:$PATH \
    LD_LIBRARY_PATH=/opt/venv/cuda \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/app/models \
    MODELS_DIR=/app/models \
    DATABASE_URL=sqlite:////app/data/parley.db \
    UPLOAD_DIR=/app/data/uploads \
    RECORDINGS_DIR=/app/data/recordings \
    VOICES_DIR=/app/data/voices \
    HF_HOME=/app/models/huggingface \
    TTS_HOME=/app/models \
    NUMBA_CACHE_DIR=/tmp/numba \
    MPLCONFIGDIR=/tmp/matplotlib \
    HOST=0.0.0.0
WORKDIR /app
USER 10001
VOLUME ["/app/models", "/app/data"]
EXPOSE 8000
# It is ready when all models are loaded: the first start downloads them. http.client ignores proxies, unlike urllib.
HEALTHCHECK --interval=30s --timeout=5s --start-period=15m --retries=3 \
    CMD ["python", "-c", "import http.client as h, os; c = h.HTTPConnection('127.0.0.1', int(os.environ.get('PORT') or 8000), timeout=4); c.request('GET', '/health/ready'); raise SystemExit(c.getresponse().status != 200)"]
CMD ["python", "main.py"]
