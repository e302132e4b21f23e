"""Barge-in: decide on speech during a reply, with the backchannels of each language."""

import re
from dataclasses import dataclass
from enum import Enum, auto

from pipeline.listening.detector import RATE_HZ, SpeechDetector
from pipeline.listening.endpointing import COMMANDS
from pipeline.listening.options import LiveOptions

_BACKCHANNELS = {
    "en": "mhm|mhmm|mm|mmm|mm hm|mm hmm|mmhmm|hm hm|uh huh|uhhuh|hmm|hm|yeah|yep|yup|yes|right|ok|okay|sure|i see|"
    "really|wow|oh|ah|aha|cool|nice|great|good|perfect|interesting|got it|gotcha|i know|of course|exactly|absolutely|"
    "definitely|true|that's true|that's right|alright|all right|makes sense|sounds good|fair enough|no way",
    "pt": "aham|ahã|uhum|hum|humhum|hm|mhm|sim|é|tá|tá bom|tá certo|está bem|está bom|certo|ok|okay|claro|"
    "claro que sim|entendi|entendo|percebo|sei|isso|isso mesmo|pois|pois é|pois claro|legal|que legal|que bom|nossa|"
    "verdade|é verdade|exato|exatamente|com certeza|ah|oh|ah é|ah tá|beleza|tudo bem|muito bem|perfeito|ótimo|uau|fixe",
    "es": "ajá|aja|mhm|mm|hm|hum|sí|si|ya|claro|claro que sí|vale|ok|okay|bueno|bien|muy bien|entiendo|entendido|"
    "ya veo|ya sé|exacto|exactamente|verdad|es verdad|ah|oh|de acuerdo|por supuesto|cierto|así es|qué bien|perfecto|"
    "genial|guau|correcto|está bien|eso es",
}
BACKCHANNELS = {language: frozenset(words.split("|")) for language, words in _BACKCHANNELS.items()}
_ANY = frozenset().union(*BACKCHANNELS.values())
_LONGEST = max(len(phrase.split()) for phrase in _ANY)
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?", re.UNICODE)
_COMMANDS = frozenset(phrase for phrases in COMMANDS.values() for phrase in phrases)
LOCKED_MS = 600
"""Length of a claim in ms after which it is judged with the speaker lock, unless it ends before: shorter speech hardly
tells a voice."""
LONG_WORD = 3
"""Only words longer than this are searched for inside of others."""


def words_beyond_backchannels(text: str, language: str | None, *, more_comes: bool = False) -> int:
    """Count the words of the transcript that are not backchannels ("mhm, yeah" is 0, "yeah but wait" is 2).

    language: ISO 639-1; for an unknown one, the backchannels of all languages apply. more_comes: the text is the start
    of an utterance, so "of" may become "of course".
    """
    known = BACKCHANNELS.get((language or "")[:2], _ANY)
    words = [word.lower() for word in _WORD.findall(text)]
    count = index = 0
    while index < len(words):
        for length in range(min(_LONGEST, len(words) - index), 0, -1):
            if " ".join(words[index : index + length]) in known:
                index += length
                break
        else:
            if more_comes and len(words) - index < _LONGEST:
                rest = " ".join(words[index:]) + " "
                if any(phrase.startswith(rest) for phrase in known):
                    break
            count += 1
            index += 1
    return count


def is_command(text: str) -> bool:
    """Whether the words are a short complete turn ("stop", "yes please")."""
    return " ".join(word.lower() for word in _WORD.findall(text)) in _COMMANDS


def is_echo(heard: str, saying: str) -> bool:
    """Whether the heard words are the assistant's own: more than half of them occur in its text.

    saying: the text around the playback position. A command ("stop", "wait") always counts as the user's.
    """
    words = [word.lower() for word in _WORD.findall(heard)]
    own = {word.lower() for word in _WORD.findall(saying)}
    if not words or is_command(heard):
        return False
    text = saying.lower()  # in languages without spaces, single words cannot be compared
    return 2 * sum(word in own or (len(word) > LONG_WORD and word in text) for word in words) > len(words)


class Decision(Enum):
    """Decision about speech during a reply."""

    WAIT = auto()
    """Undecided; the reply stays held."""
    JUDGE = auto()
    """Transcribe the speech, because its words decide."""
    CUT_IN = auto()
    """The speech is a barge-in."""
    GO_ON = auto()
    """The speech is not a barge-in; the reply resumes."""


@dataclass(slots=True)
class BargeIn:
    """A claim: speech during a reply, until it is decided whether it is a barge-in."""

    began: int
    """First sample, on the session's clock."""
    judging: bool = False
    """Whether a transcript of the claim is in progress."""
    judged_until: int = 0
    """Sample up to which it was judged to be a backchannel, an echo, or nothing."""
    stands: bool = False
    """Whether it was judged to be more than that."""
    held: bool = True
    """Whether the reply is held for the decision; if not, only words decide."""
    held_from: int = 0
    """Sample from which the interrupting length counts; 0: from the start."""
    before_ms: float = 0.0
    """Duration of earlier speech that was too short to be judged; it is judged together with this."""

    def spoken_ms(self, detector: SpeechDetector) -> float:
        """Return the duration so far."""
        return (detector.last_speech - self.began) * 1000 / RATE_HZ

    def decide(self, detector: SpeechDetector, options: LiveOptions) -> Decision:
        """Decide by the length, or by the words if the length is not conclusive."""
        if self.stands:
            return Decision.WAIT
        ended = not detector.speaking and detector.silence_ms >= options.speculate_ms
        if self.spoken_ms(detector) + self.before_ms < options.interrupt_ms:
            return Decision.GO_ON if ended else Decision.WAIT
        counted = max(self.began, self.held_from)
        if self.held and (detector.last_speech - counted) * 1000 / RATE_HZ >= options.backchannel_ms:
            return Decision.CUT_IN
        if self.judging:
            return Decision.WAIT
        if not self.judged_until:
            soon = options.speaker_lock and not ended and self.spoken_ms(detector) < LOCKED_MS
            return Decision.WAIT if soon else Decision.JUDGE
        unjudged_ms = (detector.last_speech - self.judged_until) * 1000 / RATE_HZ
        if not ended:
            enough_ms = options.interrupt_ms if self.held or options.speaker_lock else options.backchannel_ms
            return Decision.JUDGE if unjudged_ms >= enough_ms else Decision.WAIT
        return Decision.GO_ON if unjudged_ms <= 0 else Decision.JUDGE
