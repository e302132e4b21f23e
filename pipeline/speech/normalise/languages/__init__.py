"""The tables, one file for each language. In a language without a table the voice reads numbers and signs itself."""

from collections.abc import Mapping

from pipeline.speech.normalise.languages.de import GERMAN
from pipeline.speech.normalise.languages.en import ENGLISH
from pipeline.speech.normalise.languages.es import SPANISH
from pipeline.speech.normalise.languages.fr import FRENCH
from pipeline.speech.normalise.languages.it import ITALIAN
from pipeline.speech.normalise.languages.nl import DUTCH
from pipeline.speech.normalise.languages.pl import POLISH
from pipeline.speech.normalise.languages.pt import PORTUGUESE
from pipeline.speech.normalise.languages.ru import RUSSIAN
from pipeline.speech.normalise.languages.uk import UKRAINIAN
from pipeline.speech.normalise.words import Words

_TABLES = (ENGLISH, PORTUGUESE, SPANISH, GERMAN, FRENCH, ITALIAN, DUTCH, POLISH, RUSSIAN, UKRAINIAN)
LANGUAGES: Mapping[str, Words] = {words.code: words for words in _TABLES}
