"""The tables, one file for each language. In a language without a table the voice reads numbers and signs itself."""

from collections.abc import Mapping

from pipeline.spoken.languages.de import GERMAN
from pipeline.spoken.languages.en import ENGLISH
from pipeline.spoken.languages.es import SPANISH
from pipeline.spoken.languages.fr import FRENCH
from pipeline.spoken.languages.it import ITALIAN
from pipeline.spoken.languages.nl import DUTCH
from pipeline.spoken.languages.pl import POLISH
from pipeline.spoken.languages.pt import PORTUGUESE
from pipeline.spoken.languages.ru import RUSSIAN
from pipeline.spoken.languages.uk import UKRAINIAN
from pipeline.spoken.words import Words

_TABLES = (ENGLISH, PORTUGUESE, SPANISH, GERMAN, FRENCH, ITALIAN, DUTCH, POLISH, RUSSIAN, UKRAINIAN)
LANGUAGES: Mapping[str, Words] = {words.code: words for words in _TABLES}
