"""Calculator of what a number of speakers needs, and of what breaks first on the way to it.

    python -m bench.capacity [--speakers 1 10 100 1000 10000 100000] [--tts-s 0.05] [--markdown] …

Computed from measured costs, which are the options, so that you can put in your own: `bench.scaling` prints a front's
cost and the model calls of a turn, `bench.real_turn` and `bench.whisper_batch` those of the models, /metrics all of
them for a running service. Sources of the defaults: below each one. An assumption is called one.

Replicas and fronts: enough that each is busy for at most `--utilisation` of the time, and that 95 % of all calls wait
for at most `--wait-ms` (Erlang C: calls arrive independently of each other, and last exponentially, which real calls
do not, so they wait less). Limits: the number of speakers at which one part is full, of those that do not grow with the
number of processes, in the order in which they are met.
"""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import get_type_hints

from server.sharing.redis import LOOK_S, TELL_S
from server.talk.copies import RENEW_S, SPOKEN_S

SPEAKERS = (1, 10, 100, 1_000, 10_000, 100_000)
MOST_SPEAKERS = 10_000_000
"""Number up to which a limit is searched."""
WAITING = 0.05
"""Share of the calls that may wait for longer than the limit."""
FRAME_BYTES = 66 * 25
"""Headers of Ethernet, IP, TCP and WebSocket a second, with a message each 40 ms."""
ENTRY_BYTES, CALLER_BYTES = 300, 45
"""Size of one process's entry among the places in Redis without callers, and of each caller."""
REDIS_COMMAND_S = 1e-5
"""Time of Redis for a command: 77,000 to 120,000 a second with values of 4 KB (redis-benchmark, two busy cores)."""
REDIS_BYTE_S = 1 / 1.1e9
"""Time of Redis for a byte that it sends: 2,857 HGETALL a second of 400 KB each (redis-benchmark, the same machine)."""
RAY_NODES, RAY_ACTORS = 250, 10_000
"""Sizes that Ray's own tests reach: its "scalability envelope" (release/benchmarks/README.md of ray-project/ray at
048f73e) has 250+ nodes and 10,000+ actors in one cluster."""


@dataclass(frozen=True, slots=True)
class Costs:
    """The inputs. Times are in seconds, unless the name has another unit."""

    turn_s: float = 15.0
    """Time from one turn of a conversation to its next. Assumption: 4 s of speech, 6 s of reply, 5 s of thought."""
    reply_s: float = 6.0
    """Speech of a reply. Assumption."""
    conversation_s: float = 300.0
    """Length of a conversation. Assumption."""
    callers: float = 1.0
    """Keys or addresses for each conversation. Assumption: each user has an own one."""
    front_ms: float = 8.0
    """CPU of a front for a second of a conversation (docs/performance.md: 0.8 % of a core with 96)."""
    stt_s: float = 0.27
    """A call of the recogniser, on one core (docs/performance.md: the size of Whisper base, 10 s of context, one call
    at a time)."""
    stt_calls: float = 3.0
    """Calls a turn: the transcript and the partial ones. Assumption; `bench.scaling` counts them."""
    tts_s: float = 0.6
    """Synthesis of a second of speech, on one core (docs/performance.md: Kokoro)."""
    tts_share: float = 1.3
    """Speech that is synthesised for each second that is heard, because of speculation and barge-in. Assumption."""
    llm_s: float = 0.8
    """Time of a reply in the language model: 120 ms to the first token, 40 tokens at 60 a second. Assumption."""
    llm_calls: float = 1.3
    """Replies a turn, with discarded ones. Assumption."""
    llm_slots: int = 16
    """Replies at a time of one GPU with the language model. Assumption: measure your server."""
    replicas_a_gpu: int = 0
    """Speech replicas that share a GPU; 0: each has a core. With a GPU, give its --stt-s and --tts-s, too."""
    up_bytes: float = 32_000.0
    """Sound from a user a second: 16 bits at 16 kHz; 4,000 with Opus (WebRTC)."""
    down_bytes: float = 48_000.0
    """Sound to a user in a second of speech: 16 bits at 24 kHz."""
    history_bytes: float = 4_000.0
    """A conversation's copy in Redis (20 turns; at most about 15,000, see HISTORY_TOKENS)."""
    cores: int = 16
    """Cores of a machine."""
    network_gbit: float = 10.0
    """Network of the machine with the balancer, and of that with Redis, in each direction."""
    postgres_connections: int = 100
    """PostgreSQL's default `max_connections`."""
    front_connections: int = 15
    """Connections of a busy front to PostgreSQL: 10 for jobs and lists, 4 for the queue, 1 that listens."""
    max_sessions: int = 64
    """MAX_SESSIONS, of each machine."""
    utilisation: float = 0.6
    """Highest share of the time in which a front or a replica is busy."""
    wait_ms: float = 100.0
    """Longest wait of 95 % of the calls for a model."""


@dataclass(frozen=True, slots=True)
class Need:
    """Needs of a number of speakers."""

    speakers: int
    fronts: int
    stt: int
    """Replicas."""
    tts: int
    """Replicas."""
    gpus: int
    """Those of the language model, and of the speech models where they run on GPUs."""
    machines: int
    """Machines for fronts, and for speech models on cores."""
    redis_commands: float
    """A second."""
    redis_bytes: float
    """Bytes that Redis sends a second."""
    connections: int
    """Connections to PostgreSQL."""
    network_bytes: float
    """Bytes that the balancer receives a second, and sends: the users' sound and the replies, because each passes it
    from one side to the other."""

    @property
    def redis_share(self) -> float:
        """Share of the time in which Redis, which has one thread for commands, is busy."""
        return self.redis_commands * REDIS_COMMAND_S + self.redis_bytes * REDIS_BYTE_S


def waiting_share(servers: int, load: float) -> float:
    """Return the share of calls that wait (Erlang's C formula). load: calls a second times seconds a call."""
    if load >= servers:
        return 1.0
    blocked = 1.0  # Erlang's B formula, by its recursion
    for number in range(1, servers + 1):
        blocked = load * blocked / (number + load * blocked)
    return blocked / (1 - load / servers * (1 - blocked))


def servers_for(load: float, call_s: float, *, utilisation: float, wait_s: float) -> int:
    """Return the number of servers that carries a load with at most this utilisation, and with a wait of 95 % of the
    calls of at most `wait_s`."""
    servers = max(1, math.ceil(load / utilisation - 1e-9))
    # Of the calls that wait, this share waits for longer. The formula, whose time grows with the servers, is needed for
    # few of them only.
    while (longer := math.exp(-(servers - load) * wait_s / call_s)) > WAITING and (
        waiting_share(servers, load) * longer > WAITING
    ):
        servers += 1
    return servers


def need(speakers: int, costs: Costs) -> Need:
    """Return what this number of speakers needs."""
    turns = speakers / costs.turn_s

    def replicas(calls: float, call_s: float, slots: int = 1) -> int:
        wanted = servers_for(calls * call_s, call_s, utilisation=costs.utilisation, wait_s=costs.wait_ms / 1000)
        return math.ceil(min(wanted, speakers) / slots)  # a speaker has one call at a time

    fronts = math.ceil(speakers * costs.front_ms / 1000 / costs.utilisation)
    stt = replicas(turns * costs.stt_calls, costs.stt_s)
    # A reply has about three clauses, each of which is a call.
    clause_s = costs.tts_s * costs.reply_s / 3
    tts = replicas(turns * 3 * costs.tts_share, clause_s)
    gpus = replicas(turns * costs.llm_calls, costs.llm_s, costs.llm_slots)
    cores = fronts
    if costs.replicas_a_gpu:
        gpus += math.ceil(stt / costs.replicas_a_gpu) + math.ceil(tts / costs.replicas_a_gpu)
    else:
        cores += stt + tts
    # A copy is written at the user's words, at the end, and each second of a reply: a look whether it was taken, and
    # the copy itself.
    writes = turns * (2 + costs.reply_s / SPOKEN_S) + speakers / RENEW_S
    starts = speakers / costs.conversation_s
    changes = 2 * starts / fronts
    exchanges = fronts * min(1 / TELL_S, 1 / (LOOK_S + TELL_S) + changes)
    entry = ENTRY_BYTES + CALLER_BYTES * costs.callers * speakers / fronts
    heard = costs.reply_s / costs.turn_s
    return Need(
        speakers=speakers,
        fronts=fronts,
        stt=stt,
        tts=tts,
        gpus=gpus,
        machines=math.ceil(cores / costs.cores),
        redis_commands=2 * writes + 3 * exchanges + 3 * starts,
        redis_bytes=exchanges * fronts * entry + starts * costs.history_bytes,
        connections=fronts * costs.front_connections,
        network_bytes=speakers * (2 * FRAME_BYTES + costs.up_bytes + costs.down_bytes * heard),
    )


@dataclass(frozen=True, slots=True)
class Limit:
    """A part that does not grow with the number of processes."""

    part: str
    enough: Callable[[Need, Costs], bool]
    """Returns whether it is enough for a need."""
    then: str
    """The way on."""


LIMITS = (
    Limit("one copy of the voice", lambda one, _: one.tts <= 1, "`TTS_REPLICAS`, a quicker voice, a GPU"),
    Limit("one copy of the recogniser", lambda one, _: one.stt <= 1, "`STT_REPLICAS`, a GPU with `STT_BATCH`"),
    Limit("one machine", lambda one, _: one.machines <= 1, "several, with `REDIS_URL` and `MODEL_HOST=ray`"),
    Limit("`MAX_SESSIONS`", lambda one, costs: one.speakers <= costs.max_sessions, "set it to the measured number"),
    Limit("one process", lambda one, _: one.fronts <= 1, "`PROCESSES`"),
    Limit("one GPU", lambda one, _: one.gpus <= 1, "several servers in `LLM_OPENAI_URL`"),
    Limit("PostgreSQL's connections", lambda one, costs: one.connections <= costs.postgres_connections,
          "`max_connections`, or PgBouncer in session mode"),
    Limit("Redis' one thread", lambda one, _: one.redis_share <= 1, "several deployments, each with its own Redis"),
    Limit("Redis' network", lambda one, costs: one.redis_bytes * 8e-9 <= costs.network_gbit, "the same"),
    Limit("the balancer's network", lambda one, costs: one.network_bytes * 8e-9 <= costs.network_gbit,
          "several balancers (DNS), or sound over WebRTC"),
    Limit("replicas that Ray is tested with", lambda one, _: one.stt + one.tts <= RAY_ACTORS,
          "several clusters, one for each deployment"),
    Limit("nodes that Ray is tested with", lambda one, _: one.machines <= RAY_NODES,
          "several clusters, one for each deployment"),
)  # fmt: skip


def carries(limit: Limit, costs: Costs) -> int:
    """Return the number of speakers that a part carries."""
    low, high = 0, MOST_SPEAKERS
    while high - low > 1:
        middle = (low + high) // 2
        if limit.enough(need(middle, costs), costs):
            low = middle
        else:
            high = middle
    return low


def rounded(value: float) -> str:
    """Return a number with two digits, or with thousands in groups."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def sizes(costs: Costs, speakers: tuple[int, ...] = SPEAKERS) -> list[tuple[str, ...]]:
    """Return the table of what is needed, with its header."""
    rows: list[tuple[str, ...]] = [(
        "speakers", "fronts", "STT replicas", "TTS replicas", "GPUs", "machines", "Redis commands/s", "Redis MB/s",
        "PostgreSQL connections", "network Gbit/s",
    )]  # fmt: skip
    for count in speakers:
        one = need(count, costs)
        rows.append((
            f"{count:,}", f"{one.fronts:,}", f"{one.stt:,}", f"{one.tts:,}", f"{one.gpus:,}", f"{one.machines:,}",
            rounded(one.redis_commands), rounded(one.redis_bytes / 1e6), f"{one.connections:,}",
            rounded(one.network_bytes * 8e-9),
        ))  # fmt: skip
    return rows


def limits(costs: Costs, speakers: tuple[int, ...] = SPEAKERS) -> list[tuple[str, ...]]:
    """Return the table of the parts that break on the way, in this order, with its header: the first row of each step
    is what breaks first."""
    rows: list[tuple[str, ...]] = [("on the way to", "what breaks", "carries", "then")]
    found = sorted(((carries(limit, costs), limit) for limit in LIMITS), key=lambda one: one[0])
    before = 0
    for count in speakers:
        broken = [(most, limit) for most, limit in found if before <= most < count]
        rows += [(f"{count:,}" if number == 0 else "", limit.part, f"{most:,}", limit.then)
                 for number, (most, limit) in enumerate(broken)]  # fmt: skip
        before = count
    return rows


def markdown(rows: list[tuple[str, ...]]) -> str:
    """Return a table as Markdown."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speakers", type=int, nargs="+", default=SPEAKERS)
    parser.add_argument("--markdown", action="store_true", help="as docs/scaling.md has it")
    kinds = get_type_hints(Costs)
    for one in fields(Costs):
        parser.add_argument(f"--{one.name.replace('_', '-')}", type=kinds[one.name], default=one.default)
    options = vars(parser.parse_args())
    speakers, as_markdown = tuple(sorted(options.pop("speakers"))), options.pop("markdown")
    if speakers[0] < 1:
        parser.error("argument --speakers: must be 1 or more")
    for name, value in options.items():
        if value < 0 or (value == 0 and name != "replicas_a_gpu"):
            parser.error(f"argument --{name.replace('_', '-')}: must be more than 0")
    costs = Costs(**options)
    for table in (sizes(costs, speakers), limits(costs, speakers)):
        if as_markdown:
            print(markdown(table), end="\n\n")
        else:
            _print(table)


def _print(rows: list[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print()


if __name__ == "__main__":
    main()
