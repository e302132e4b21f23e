"""Store of conversations for clients that reconnect, and its tokens."""

from pipeline.conversation.history import Conversation
from server.talk.copies import Owner
from server.talk.resume import Resumable, Resuming

ANNA: Owner = ("key", "anna")


def spoken_to() -> Conversation:
    conversation = Conversation("", budget_tokens=1000)
    conversation.record("hello", "en", "Hello.")
    return conversation


class Connection:
    """A connection that uses the store as `server.talk.live` does."""

    def __init__(self, store: Resumable, token: str, conversation: Conversation) -> None:
        self.store, self.token, self.conversation = store, token, conversation
        store.open(token, ANNA, self.give_up)

    def give_up(self) -> Conversation:
        return self.conversation

    def end(self) -> None:
        self.store.keep(self.token, self.give_up, self.conversation)


def test_token_works_once_and_expires() -> None:
    now = 0.0
    store = Resumable(10, 5, clock=lambda: now)
    Connection(store, "one", spoken_to()).end()
    assert store.take("one", ANNA) is not None
    assert store.take("one", ANNA) is None
    Connection(store, "one", spoken_to()).end()
    now = 10.0
    assert store.take("one", ANNA) is None


def test_end_of_a_replaced_connection_does_not_affect_the_new_one() -> None:
    """The client reconnects so quickly that the old connection has not ended yet."""
    store, conversation = Resumable(10, 5), spoken_to()
    old = Connection(store, "one", conversation)
    assert store.take("one", ANNA) is conversation
    Connection(store, "one", conversation)  # the new connection, until its client has shown that it has the next token
    old.end()
    store.forget("one")
    assert store.take("one", ANNA) is None


def test_token_works_only_for_its_owner_and_survives_misuse() -> None:
    store, conversation = Resumable(10, 5), spoken_to()
    connection = Connection(store, "one", conversation)
    others: tuple[Owner, ...] = (("key", "ben"), ("jwt", "anna"), ("anonymous", ""))
    assert [store.take("one", other) for other in others] == [None] * 3, "of an open connection"
    connection.end()
    assert [store.take("one", other) for other in others] == [None] * 3
    assert store.take("one", ANNA) is conversation


def test_oldest_conversations_are_dropped_when_the_store_is_full() -> None:
    store = Resumable(10, most=2)
    for token in ("one", "two", "three"):
        Connection(store, token, spoken_to()).end()
    assert [store.take(token, ANNA) is not None for token in ("one", "two", "three")] == [False, True, True]


async def test_a_conversation_is_kept_when_the_connection_that_resumes_it_fails() -> None:
    now = 0.0
    store, conversation = Resumable(10, 5, clock=lambda: now), spoken_to()
    Connection(store, "one", conversation).end()
    failing = Resuming(store, "one", ANNA)
    await failing.look_elsewhere()
    assert failing.take() is conversation
    now = 5.0
    failing.give_back()
    assert store.take("one", ("key", "ben")) is None
    later = Resuming(store, "one", ANNA)
    assert later.take() is conversation
    later.resumed()
    later.give_back()  # its connection keeps it at its end
    assert store.take("one", ANNA) is None


async def test_a_connection_that_moves_and_fails_leaves_its_conversation() -> None:
    store, conversation = Resumable(10, 5), spoken_to()
    old = Connection(store, "one", conversation)
    moving = Resuming(store, "one", ANNA)
    assert moving.take() is conversation
    moving.give_back()
    old.end()
    assert store.take("one", ANNA) is conversation
