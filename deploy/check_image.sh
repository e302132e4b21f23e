#!/usr/bin/env bash
# Build the image and ask it a spoken question: alone, then in the Compose stack with a stand-in for Ollama.
#
#   deploy/check_image.sh                      with Docker
#   ENGINE=podman deploy/check_image.sh        with buildah, podman and podman-compose
#
# BASE, VARIANT, EXTRAS as in docs/docker.md; BUILD_FLAGS: further flags for the build; PYTHON: a Python with
# `websockets`; PORT: a free port; KEEP=1: keep the images.
set -euo pipefail
cd "$(dirname "$0")/.."

ENGINE=${ENGINE:-docker}
PYTHON=${PYTHON:-.venv/bin/python}
PORT=${PORT:-18000}
NAME=parley-check
SAMPLES=audios/samples
MODEL=checked-model
REPLY="The sidecar answers."
MOST_BYTES=1500000000

if [ "$ENGINE" = podman ]; then
    read -ra build <<<"buildah bud --format docker ${BUILD_FLAGS:-}"
    read -ra compose <<<"${COMPOSE:-podman-compose}"
    IMAGE=localhost/$NAME
else
    read -ra build <<<"docker build ${BUILD_FLAGS:-}"
    read -ra compose <<<"${COMPOSE:-docker compose}"
    IMAGE=$NAME
fi
work=$(mktemp -d)
stack=("${compose[@]}" -p "$NAME" --env-file "$work/env" -f docker-compose.yml -f "$work/override.yml")

clean_up() {
    status=$?
    [ $status = 0 ] || "$ENGINE" logs "$NAME" 2>&1 | tail -30 || true
    if [ -e "$work/small.yml" ]; then
        [ $status = 0 ] || "${small[@]}" logs 2>&1 | tail -40 || true
        "${small[@]}" down --volumes || true
    fi
    if [ -e "$work/override.yml" ]; then
        [ $status = 0 ] || "${stack[@]}" logs 2>&1 | tail -40 || true
        "${stack[@]}" down --volumes || true
    fi
    for container in "$NAME" "$NAME-api" "$NAME-ollama" "$NAME-webui"; do "$ENGINE" rm -f "$container" || true; done
    "$ENGINE" volume rm -f "$NAME-models" || true
    [ -n "${KEEP:-}" ] || "$ENGINE" rmi -f "$IMAGE" "$IMAGE-ollama" || true
    rm -rf "$work"
} >&2 2>/dev/null

say() { printf '\n== %s\n' "$*"; }
fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }
milliseconds() { echo $(($(date +%s%N) / 1000000)); }
ask() { "$PYTHON" deploy/ask.py "ws://127.0.0.1:$PORT/ws" "$@"; }

# Run the health check's own command, because not every engine runs it automatically.
healthy() {
    "$ENGINE" image inspect "$IMAGE" | "$PYTHON" -c '
import json, subprocess, sys
image = json.load(sys.stdin)[0]
kind, *command = (image.get("HealthCheck") or image.get("Healthcheck") or image["Config"]["Healthcheck"])["Test"]
sys.exit(kind != "CMD" or subprocess.run([sys.argv[1], "exec", sys.argv[2], *command]).returncode)' "$ENGINE" "$1"
}

# Check that the running container stops quickly and cleanly.
stops() {
    local began took status
    [ "$("$ENGINE" inspect --format '{{.State.Running}}' "$NAME")" = true ] || fail "it ended too early"
    began=$(milliseconds)
    "$ENGINE" stop -t 20 "$NAME" >/dev/null
    took=$(($(milliseconds) - began))
    status=$("$ENGINE" inspect --format '{{.State.ExitCode}}' "$NAME")
    echo "stopped after $took ms with exit code $status"
    [ "$status" = 0 ] || fail "exit code $status"
    [ $took -lt 8000 ] || fail "it took $took ms"
    "$ENGINE" rm -f "$NAME" >/dev/null
}

trap clean_up EXIT

say "build"
flags=(--build-arg "VARIANT=${VARIANT:-cpu}" --build-arg "EXTRAS=${EXTRAS:-}")
[ -z "${BASE:-}" ] || flags+=(--build-arg "BASE=$BASE")
"${build[@]}" "${flags[@]}" -t "$IMAGE" .
bytes=$("$ENGINE" image inspect --format '{{.Size}}' "$IMAGE")
echo "size: $((bytes / 1000000)) MB"
[ "${VARIANT:-cpu}${EXTRAS:-}" != cpu ] || [ "$bytes" -lt $MOST_BYTES ] || fail "larger than $((MOST_BYTES / 1000000)) MB"

say "without keys it refuses to start"
status=0
refusal=$("$ENGINE" run --rm --name "$NAME" "$IMAGE" 2>&1) || status=$?
printf '%s\n' "$refusal"
[ $status = 2 ] || fail "exit code $status, not 2"
[[ $refusal == *API_KEYS* && $refusal == *ALLOW_ANONYMOUS* ]] || fail "the message does not say what to do"

say "alone, with the built-in engines: an unprivileged user, a new volume, a read-only root, no capabilities"
began=$(milliseconds)
"$ENGINE" run -d --name "$NAME" -p "127.0.0.1:$PORT:8000" -v "$NAME-models:/app/models" -e ALLOW_ANONYMOUS=true \
    -e WHISPER_DEVICE=cpu -e STT_ENGINE=sphinx -e LLM_ENGINE=builtin -e TTS_ENGINE=espeak \
    --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges "$IMAGE" >/dev/null
ask $SAMPLES/what_is_two_plus_three.wav --heard 'two plus three' --says 'five|5'
echo "from start to the end of the first turn: $(($(milliseconds) - began)) ms"
[ "$("$ENGINE" exec "$NAME" id -u)" = 10001 ] || fail "it does not run as user 10001"
"$ENGINE" exec "$NAME" touch /app/models/written || fail "the new volume cannot be written"
healthy "$NAME" || fail "the health check fails"

say "it stops on request"
stops

say "it stops while it is loading"
"$ENGINE" run -d --name "$NAME" -e ALLOW_ANONYMOUS=true "$IMAGE" >/dev/null
sleep 1 # it is loading now
stops

say "the Compose stack, with the .env that the original service documents"
mkdir "$work/sidecar"
cp -r tests/servers "$work/sidecar/servers"
cat >"$work/sidecar/ollama" <<'END'
#!/bin/sh
exec python -c "import http.client as h; c = h.HTTPConnection('127.0.0.1', 11434, timeout=4); c.request('GET', '/api/tags'); raise SystemExit(c.getresponse().status != 200)"
END
chmod +x "$work/sidecar/ollama"
cat >"$work/sidecar/Dockerfile" <<END
FROM $IMAGE
USER 0
COPY ollama /usr/local/bin/ollama
COPY servers /app/tests/servers
HEALTHCHECK NONE
CMD ["python", "-m", "tests.servers.ollama", "--host", "0.0.0.0", "--port", "11434", "--model", "not-$MODEL", "--reply", "$REPLY"]
END
"${build[@]}" -t "$IMAGE-ollama" "$work/sidecar" >/dev/null
cat >"$work/env" <<END
PORT=$PORT
LLAMA_MODEL=$MODEL
LLAMA_ENDPOINT=http://localhost:11434
WHISPER_MODEL=base
WHISPER_DEVICE=cuda
DEBUG_MODE=true
VOICE_NAME=man
IMAGE=$IMAGE
OLLAMA_IMAGE=$IMAGE-ollama
END
# Names for `exec`, and no restart that would hide why the first start failed.
cat >"$work/override.yml" <<END
services:
  api:
    container_name: $NAME-api
    restart: "no"
  ollama-ai:
    container_name: $NAME-ollama
    restart: "no"
END
"${stack[@]}" up -d --no-build
ask $SAMPLES/tell_me_a_story.wav --says "^$REPLY\$" # with a model that the sidecar had to pull first
say "no container of the stack has or can gain a capability, or can write its own files"
for container in "$NAME-api" "$NAME-ollama"; do
    rights=$("$ENGINE" exec "$container" grep -E '^(CapBnd|CapEff|NoNewPrivs)' /proc/1/status | tr -s '[:space:]' ' ')
    echo "$container: $rights"
    [ "$rights" = "CapEff: 0000000000000000 CapBnd: 0000000000000000 NoNewPrivs: 1 " ] || fail "it has capabilities"
    ! "$ENGINE" exec "$container" touch /app/main.py /etc/passwd 2>/dev/null || fail "$container can write its own files"
done
"$ENGINE" exec "$NAME-api" sh -c 'touch /tmp/x /app/data/x /app/models/x' || fail "a writable folder is not writable"
"$ENGINE" exec "$NAME-ollama" ollama list || fail "the sidecar's health check fails"
"${stack[@]}" down --volumes
rm "$work/override.yml"

say "the small Compose file with a stand-in for Open WebUI, which hears and speaks through it"
cat >"$work/small.yml" <<END
services:
  parley:
    container_name: $NAME-api
    environment: {STT_ENGINE: sphinx, LLM_ENGINE: builtin, TTS_ENGINE: espeak}
  open-webui:
    container_name: $NAME-webui
    command: ["python", "-m", "tests.servers.open_webui"]
END
small=("${compose[@]}" -p "$NAME" --env-file "$work/env" -f deploy/compose.yml -f deploy/compose.open-webui.yml -f "$work/small.yml")
printf 'OPEN_WEBUI_IMAGE=%s\nOPEN_WEBUI_PORT=%s\n' "$IMAGE-ollama" $((PORT + 1)) >>"$work/env"
"${small[@]}" up -d --no-build
ask $SAMPLES/what_is_two_plus_three.wav --heard 'two plus three' --says 'five|5'
told=$("$PYTHON" -c "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=300).read().decode())" "http://127.0.0.1:$((PORT + 1))/")
echo "$told"
[[ $told == *woman* && $told == *"two plus three"* ]] || fail "Open WebUI cannot hear or speak through Parley"
"${small[@]}" down --volumes
rm "$work/small.yml"

say "the image passes"
