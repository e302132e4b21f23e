"""The addresses and ports of calls: settings, and clients beyond a NAT."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from pipeline.settings import HOME, Settings
from server.webrtc.network import IceServer, Network
from tests import forked
from tests.namespaces import Host, needs_networks, network
from tests.questions import SUM, SUM_ANSWER
from tests.server_process import ServerProcess, constants, environment, serving
from tests.servers.running import closed_port
from tests.webrtc.caller import calling, offered

pytestmark = pytest.mark.real_time
CANDIDATE = re.compile(r"a=candidate:\S+ 1 udp \d+ (\S+) (\d+) typ (\w+)")
PORTS = range(21_400, 21_402)
KEY = "a-key-of-thirty-two-characters-01"
needs_turn = pytest.mark.skipif(
    shutil.which("turnserver") is None or os.environ.get("PARLEY_NO_TURN") == "1",
    reason="A TURN server is not installed (Debian: coturn; `make services`), or PARLEY_NO_TURN=1",
)


def settings(**values: str) -> Settings:
    return Settings(_env_file=None, **values)  # type: ignore[call-arg,arg-type]


def test_settings_become_addresses_ports_and_servers() -> None:
    made = Network.of(
        settings(
            webrtc_udp_ports="20000-20031",
            webrtc_address="203.0.113.1, 2001:db8::1",
            webrtc_ice_servers="stun:stun.example:3478,turn:anna:se:cret@turn.example?transport=tcp",
        )
    )
    assert made.ports == range(20_000, 20_032)
    assert made.addresses == ("203.0.113.1", "2001:db8::1")
    assert made.servers == (
        IceServer("stun:stun.example:3478"), IceServer("turn:turn.example?transport=tcp", "anna", "se:cret"),
    )  # fmt: skip
    assert made.host == ""
    assert not made.local
    assert Network.of(settings()).local
    assert Network.of(settings(host="192.0.2.7")).host == "192.0.2.7"


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"webrtc_udp_ports": "80-90"}, "range of ports from 1024"),
        ({"webrtc_udp_ports": "20031-20000"}, "range of ports"),
        ({"webrtc_udp_ports": "many"}, "range of ports"),
        ({"webrtc_address": "parley.example"}, "'parley.example' is not an IP address"),
        ({"webrtc_ice_servers": "stun.example:3478"}, "stun:HOST:PORT"),
        ({"webrtc_ice_servers": "turn:turn.example"}, "NAME:PASSWORD@"),
        ({"webrtc_ice_servers": "stun:a:1,stun:b:2"}, "only one stun:"),
    ],
)
def test_bad_settings_are_refused_at_the_start(values: dict[str, str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Network.of(settings(**values))


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A service with two UDP ports, and an advertised address. It gives up soon on a caller that does not connect."""
    limits = {"WEBRTC_UDP_PORTS": f"{PORTS[0]}-{PORTS[-1]}", "WEBRTC_ADDRESS": "198.51.100.7"}
    soon = constants({"server.webrtc.call:CONNECT_S": 5.0})
    with serving(tmp_path_factory.mktemp("narrow"), **limits, **soon) as server:
        yield server
    assert "Traceback" not in server.text


def test_calls_use_the_ports_of_the_range_and_are_refused_beyond(narrow: ServerProcess) -> None:
    async def run() -> None:
        async with calling(narrow.url) as one, calling(narrow.url) as other:
            for caller in (one, other):
                candidates = CANDIDATE.findall(caller.peer.remoteDescription.sdp)
                assert {int(port) for _, port, _ in candidates} <= set(PORTS)
                assert "198.51.100.7" in {address for address, _, kind in candidates if kind == "srflx"}
            refused = await offered(narrow.url, session=None)
            assert refused.status_code == 503
            assert refused.headers["Retry-After"]
            assert "WEBRTC_UDP_PORTS" in refused.json()["error"]["message"]
        async with asyncio.timeout(20):
            while (await offered(narrow.url, session=None)).status_code == 503:  # noqa: ASYNC110
                await asyncio.sleep(0.1)

    asyncio.run(run())


@contextmanager
def behind_a_nat(folder: Path, *forwarded: str, **more: str) -> Iterator[tuple[ServerProcess, Host, Host, str]]:
    """A service at 10.0.2.2, whose router at 203.0.113.1 passes on its HTTP port and what else is `forwarded`, and a
    client at 203.0.113.2. Yields service, router, client and the URL for the client."""
    port = closed_port()
    with network() as net:
        home, router, client = net.host(), net.host(), net.host()
        net.cable(home, "10.0.2.2/24", router, "10.0.2.1/24")
        net.cable(client, "203.0.113.2/24", router, "203.0.113.1/24")
        home.run("ip route add default via 10.0.2.1")
        rules = "".join(f"{rule} dnat to 10.0.2.2\n" for rule in (f"tcp dport {port}", *forwarded))
        router.run("sysctl -q -w net.ipv4.ip_forward=1")
        router.run(
            "nft -f -",
            text=f"""table ip nat {{
                chain in {{ type nat hook prerouting priority -100; iifname eth2 jump forwarded; }}
                chain forwarded {{
                    {rules}
                }}
            }}""",
        )
        settings = {"HOST": "0.0.0.0", "PORT": str(port), "ALLOW_ANONYMOUS": "true", **more}
        with serving(folder, within=str(home.process.pid), **settings) as server:
            yield server, router, client, f"http://203.0.113.1:{port}"


def talk(host: Host, url: str, *options: str) -> dict[str, object] | None:
    """Call from a host; return what came of it, or None if the call did not connect."""
    done = forked.run(
        url, *options, folder=HOME, env=environment(), within=str(host.process.pid), module="tests.webrtc.talk"
    )
    if done.returncode == 1 and not done.stderr:
        return None
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@needs_networks
def test_a_client_beyond_the_nat_talks_over_the_forwarded_ports(tmp_path: Path) -> None:
    with behind_a_nat(
        tmp_path, "udp dport 20000-20003", WEBRTC_UDP_PORTS="20000-20003", WEBRTC_ADDRESS="203.0.113.1"
    ) as (_, _, client, url):
        told = talk(client, url)
        assert told is not None
        assert told["heard"] == SUM
        assert SUM_ANSWER in str(told["said"])
        assert float(str(told["loudest"])) > 0.02


@needs_networks
def test_without_an_advertised_address_that_client_cannot_connect(tmp_path: Path) -> None:
    with behind_a_nat(tmp_path, "udp dport 20000-20003", WEBRTC_UDP_PORTS="20000-20003") as (_, _, client, url):
        assert talk(client, url, "--seconds", "4") is None


@needs_networks
@needs_turn
@pytest.mark.parametrize("addresses", [[], ["--with-addresses"]], ids=["without addresses", "with addresses"])
def test_a_turn_server_relays_the_call(tmp_path: Path, addresses: list[str]) -> None:
    turn = "turn:parley:a-secret-word@10.0.2.1:3478"
    with behind_a_nat(tmp_path, WEBRTC_ICE_SERVERS=turn) as (server, router, client, url):
        command = (
            "turnserver -n --no-cli --no-tls --no-dtls -L 10.0.2.1 -E 203.0.113.1 -r parley -a -u parley:a-secret-word "
            f"--log-file stdout --no-stdout-log --pidfile {tmp_path}/pid --userdb {tmp_path}/db"
        )
        relay = subprocess.Popen([*router.within, *command.split()], cwd=tmp_path, stdout=subprocess.DEVNULL)
        try:
            told = talk(client, url, *addresses)
            assert told is not None, server.text
            assert SUM_ANSWER in str(told["said"])
        finally:
            relay.kill()
            relay.wait()
        assert "a-secret-word" not in server.text


PROBE = """
import socket, sys
probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
probe.settimeout(1.0)
probe.sendto(bytes.fromhex("000100002112a442") + bytes(12), (sys.argv[1], int(sys.argv[2])))
try:
    print(len(probe.recv(2048)))
except TimeoutError:
    print(0)
"""
"""Sends a STUN request without credentials, and prints the length of the response."""

OFFER = """
import asyncio, sys
from tests.webrtc.caller import offered
print(asyncio.run(offered(sys.argv[1], None)).text)
"""


@needs_networks
def test_on_loopback_only_this_machine_can_call(tmp_path: Path) -> None:
    """Calls also listen on the machine's other addresses, for browsers that call no loopback address. They drop
    datagrams from other machines."""
    with network() as net:
        home, other = net.host(), net.host()
        net.cable(home, "10.0.2.2/24", other, "10.0.2.1/24")
        with serving(tmp_path, within=str(home.process.pid), PORT=str(closed_port())) as server:
            answer = _python(home, OFFER, server.url)
            found = {address: port for address, port, _ in CANDIDATE.findall(answer)}
            assert set(found) == {"127.0.0.1", "10.0.2.2"}
            assert int(_python(home, PROBE, "10.0.2.2", found["10.0.2.2"])) > 0
            assert int(_python(other, PROBE, "10.0.2.2", found["10.0.2.2"])) == 0


def _python(host: Host, program: str, *arguments: str) -> str:
    command = [*host.within, sys.executable, "-c", program, *arguments]
    return subprocess.run(command, cwd=HOME, capture_output=True, text=True, timeout=60, check=True).stdout
