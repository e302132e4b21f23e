"""Settings of the service: where it listens, its logs, who has access, and limits."""

from typing import Literal

from pydantic import Field, field_validator

from pipeline.settings.group import Group

LONGEST_S = 21_600.0
"""Longest recording to transcribe, in seconds, or what MAX_FILE_SIZE holds at BYTES_A_SECOND if that is more."""
BYTES_A_SECOND = 24_000
"""192 kbit/s, at which 500 MB are 6 hours."""
MIN_CONNECTIONS = 1024
"""Connections that the service accepts, or two for each of MAX_SESSIONS if that is more."""


class ServiceSettings(Group):
    """Network, logs and metrics, access, limits."""

    # --- network ---
    host: str = "127.0.0.1"
    """Address to listen on. An address other than loopback needs API_KEYS, or ALLOW_ANONYMOUS=true."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Port to listen on (0: any free one)."""
    processes: int = Field(default=1, ge=1, le=64)
    """Number of processes that serve connections, together on PORT and with one set of models (docs/scaling.md). One
    process uses one core and carries about 100 conversations; raise MAX_SESSIONS, too."""
    wyoming_uri: str = ""
    """Address for the Wyoming protocol, which Home Assistant uses (tcp://127.0.0.1:10300); empty: off. It has no
    keys: every client that reaches the address has access. An address other than loopback is announced on the network
    (zeroconf), so that Home Assistant discovers it."""
    audiosocket_address: str = ""
    """Address for calls from Asterisk by AudioSocket (127.0.0.1:9092; docs/telephone.md); empty: off."""
    audiosocket_allowed: str = "127.0.0.1,::1"
    """Comma-separated addresses and networks (10.0.0.0/8) from which AUDIOSOCKET_ADDRESS accepts calls. The protocol
    has no keys."""
    twilio_auth_token: str = ""
    """Auth token of your Twilio account. When set, /twilio/voice accepts its calls (docs/telephone.md)."""
    allowed_origins: str = ""
    """Comma-separated web origins (https://example.org) whose pages can connect and send requests (CORS), in addition
    to the service's own."""
    forwarded_allow_ips: str = "127.0.0.1,::1"
    """Comma-separated addresses and networks of reverse proxies whose X-Forwarded-For and X-Forwarded-Proto are
    trusted. With *, every client is trusted, and can choose its own address."""
    drain_seconds: float = Field(default=25.0, ge=0)
    """After SIGTERM, the service accepts no new clients and gives running work this long to finish, in seconds. A
    second SIGTERM ends it at once."""

    # --- WebRTC ---
    webrtc_udp_ports: str = ""
    """Range of UDP ports for the sound of calls over WebRTC, such as 20000-20031, one for each call; empty: any."""
    webrtc_address: str = ""
    """Comma-separated IP addresses at which clients reach these ports, if they are not this machine's own (NAT,
    containers). With it or WEBRTC_ICE_SERVERS, calls listen on all addresses, whatever HOST is."""
    webrtc_ice_servers: str = ""
    """Comma-separated servers that the service uses to be reached behind a NAT: one for STUN (stun:HOST:PORT), which
    tells it its address, and one for TURN (turn:NAME:PASSWORD@HOST:PORT), which relays the calls."""

    # --- logs, metrics ---
    debug_mode: bool = False
    """Detailed logs, including transcripts and replies."""
    log_format: Literal["console", "json"] = "console"
    """Log format: lines for people, or one JSON object a line with session, turn and trace_id."""

    # --- access ---
    api_keys: str = ""
    """Comma-separated keys; when set, every client must send one (Authorization: Bearer KEY). An entry is KEY, which
    has all permissions, or NAME:PERMISSIONS:KEY, with the permissions talk, transcribe or admin, joined by +."""
    api_keys_file: str = ""
    """A file with hashed keys, made by `python main.py keys add NAME`; reloaded when it changes."""
    jwt_secret: str = ""
    """Secret of JWTs (HS256, HS384, HS512; 32 characters or more). When set, a JWT that has not expired is accepted as
    a key. Its claim `scope` contains the permissions."""
    jwt_jwks_url: str = ""
    """URL of a JSON Web Key Set. When set, JWTs signed with its keys (RS, PS, ES, EdDSA) are accepted, too."""
    jwt_issuer: str = ""
    """Required issuer of JWTs (`iss`); empty: any."""
    jwt_audience: str = ""
    """Required audience of JWTs (`aud`); empty: any. Set it if the issuer also issues tokens for other services."""
    allow_anonymous: bool = False
    """Serve without keys beyond this machine. Use it only behind something that authenticates clients."""
    public_lists: bool = False
    """Serve the lists of voices, of models for speech and of personas (/v1/audio/voices, /v1/audio/models, /personas)
    without a key, for clients that send none, such as Open WebUI."""

    # --- limits ---
    max_message_bytes: int = Field(default=26_214_400, ge=1024)
    """Largest WebSocket message, in bytes; a larger one closes the connection with 1009."""
    max_audio_seconds: float = Field(default=120.0, gt=0)
    """Longest utterance, in seconds."""
    max_sessions: int = Field(default=64, ge=1)
    """Maximum number of simultaneous conversations; further ones are refused at once with 503."""
    caller_share: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of MAX_SESSIONS and of MAX_FILES that one key can use, or one address where keys are not needed (an IPv6
    /64; this machine's own addresses are not counted); more is refused with 429. 0: half, but all of MAX_SESSIONS for
    an address. If all users share one key, set 1."""
    rate_limit: str = "1200/minute"
    """Rate limit for requests of one key, or of one address where keys are not needed; further ones are refused with
    429 and Retry-After. An address that sends no valid key has a quarter of it. Separate several limits by ;, write
    "none" for no limit. Counted in Redis if REDIS_URL is set."""
    max_file_size: int = Field(default=524_288_000, ge=1024)
    """Largest file that is uploaded or fetched, in bytes or with a unit (500MB; a KB is 1024 bytes). A zip can unpack
    to four times as much, and to 500 files. A recording can be as long as this size holds at 192 kbit/s, and in any
    case 6 hours."""
    max_files: int = Field(default=8, ge=1)
    """Maximum number of recordings transcribed at the same time; further ones are refused with 503 and Retry-After.
    Four times as many uploads can be in progress."""

    @field_validator("jwt_secret")
    @classmethod
    def _long_enough(cls, value: str) -> str:
        if 0 < len(value) < 32:
            raise ValueError("must have 32 characters or more (openssl rand -hex 32)")
        return value

    @property
    def max_file_seconds(self) -> float:
        """Longest recording to transcribe, in seconds, whatever its size is."""
        return max(LONGEST_S, self.max_file_size / BYTES_A_SECOND)

    @property
    def max_connections(self) -> int:
        """Maximum number of simultaneous connections of any kind."""
        return max(MIN_CONNECTIONS, 2 * self.max_sessions)
