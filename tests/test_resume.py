"""Conversations that are kept for who comes back, and what is true of their tokens."""

from pipeline.conversation import Conversation
from server.resume import Owner, Resumable

ANNA: Owner = ("key", "anna")


def spoken_to() -> Conversation:
    conversation = Conversation("", budget_tokens=1000)
    conversation.record("hello", "en", "Hello.")
    return conversation


class Connection:
    """What `server.live` does with the store."""

    def __init__(self, store: Resumable, token: str, conversation: Conversation) -> None:
        self.store, self.token, self.conversation = store, token, conversation
        store.open(token, ANNA, self.give_up)

    def give_up(self) -> Conversation:
        return self.conversation

    def end(self) -> None:
        self.store.keep(self.token, self.give_up, self.conversation)


def test_a_token_is_for_once_and_for_a_while() -> None:
    now = 0.0
    store = Resumable(10, 5, clock=lambda: now)
    Connection(store, "one", spoken_to()).end()
    assert store.take("one", ANNA) is not None
    assert store.take("one", ANNA) is None
    Connection(store, "one", spoken_to()).end()
    now = 10.0
    assert store.take("one", ANNA) is None


def test_the_end_of_a_connection_that_was_given_up_takes_nothing_from_the_one_that_goes_on() -> None:
    """Who comes back so quickly that the old connection is not over yet."""
    store, conversation = Resumable(10, 5), spoken_to()
    old = Connection(store, "one", conversation)
    assert store.take("one", ANNA) is conversation
    Connection(store, "one", conversation)  # the new one, until its client has shown that it has the next token
    old.end()
    store.forget("one")
    assert store.take("one", ANNA) is None


def test_a_token_of_somebody_else_is_no_token_and_stays_good_for_its_owner() -> None:
    store, conversation = Resumable(10, 5), spoken_to()
    connection = Connection(store, "one", conversation)
    others: tuple[Owner, ...] = (("key", "ben"), ("jwt", "anna"), ("anonymous", ""))
    assert [store.take("one", other) for other in others] == [None] * 3, "of a connection that lives"
    connection.end()
    assert [store.take("one", other) for other in others] == [None] * 3
    assert store.take("one", ANNA) is conversation


def test_the_oldest_make_room() -> None:
    store = Resumable(10, most=2)
    for token in ("one", "two", "three"):
        Connection(store, token, spoken_to()).end()
    assert [store.take(token, ANNA) is not None for token in ("one", "two", "three")] == [False, True, True]
