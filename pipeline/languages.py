"""Language names in the forms that clients, servers and settings use: codes of ISO 639-1, 639-2 or 639-3, BCP 47 tags,
English names. Internally there is one form, the code of Whisper's tokenizer."""

from pipeline.errors import BadInput

_TABLE = """
af:afrikaans am:amharic ar:arabic as:assamese az:azerbaijani ba:bashkir be:belarusian bg:bulgarian bn:bengali
bo:tibetan br:breton bs:bosnian ca:catalan cs:czech cy:welsh da:danish de:german el:greek en:english es:spanish
et:estonian eu:basque fa:persian fi:finnish fo:faroese fr:french gl:galician gu:gujarati ha:hausa haw:hawaiian
he:hebrew hi:hindi hr:croatian ht:haitian_creole hu:hungarian hy:armenian id:indonesian is:icelandic it:italian
ja:japanese jw:javanese ka:georgian kk:kazakh km:khmer kn:kannada ko:korean la:latin lb:luxembourgish ln:lingala
lo:lao lt:lithuanian lv:latvian mg:malagasy mi:maori mk:macedonian ml:malayalam mn:mongolian mr:marathi ms:malay
mt:maltese my:myanmar ne:nepali nl:dutch nn:nynorsk no:norwegian oc:occitan pa:punjabi pl:polish ps:pashto
pt:portuguese ro:romanian ru:russian sa:sanskrit sd:sindhi si:sinhala sk:slovak sl:slovenian sn:shona so:somali
sq:albanian sr:serbian su:sundanese sv:swedish sw:swahili ta:tamil te:telugu tg:tajik th:thai tk:turkmen tl:tagalog
tr:turkish tt:tatar uk:ukrainian ur:urdu uz:uzbek vi:vietnamese yi:yiddish yo:yoruba yue:cantonese zh:chinese
"""
NAMES = dict(pair.split(":") for pair in _TABLE.split())
"""ISO 639 code → English name (an underscore for a space), as in openai-whisper's tokenizer."""
_CODES = {name.replace("_", " "): code for code, name in NAMES.items()} | {
    "burmese": "my", "castilian": "es", "flemish": "nl", "haitian": "ht", "letzeburgesch": "lb", "mandarin": "zh",
    "moldavian": "ro", "moldovan": "ro", "panjabi": "pa", "pushto": "ps", "sinhalese": "si", "valencian": "ca",
}  # fmt: skip
"""English name → code, with the other names that openai-whisper's tokenizer knows."""


_LONG = """
aar:aa abk:ab adp:dz afr:af aka:ak alb:sq als:sq amh:am ara:ar arb:ar arg:an arm:hy asm:as ava:av ave:ae aym:ay ayr:ay
azb:az aze:az azj:az bak:ba bam:bm baq:eu bel:be ben:bn bih:bh bis:bi bod:bo bos:bs bre:br bul:bg bur:my cat:ca ces:cs
cha:ch che:ce chi:zh chu:cu chv:cv cls:sa cmn:zh cnr:sr cor:kw cos:co cre:cr cwd:cr cym:cy cze:cs dan:da deu:de div:dv
drh:mn drw:fa dut:nl dzo:dz ekk:et ell:el eng:en epo:eo esk:ik est:et eus:eu ewe:ee fao:fo fas:fa fat:ak fij:fj fil:tl
fin:fi fra:fr fre:fr fry:fy fuc:ff ful:ff gaz:om geo:ka ger:de gla:gd gle:ga glg:gl glv:gv gre:el grn:gn gug:gn guj:gu
hat:ht hau:ha hbs:sr heb:he her:hz hin:hi hmo:ho hrv:hr hun:hu hye:hy ibo:ig ice:is ido:io iii:ii ike:iu iku:iu ile:ie
ina:ia ind:id ipk:ik isl:is ita:it jav:jw jaw:jw jpn:ja kal:kl kan:kn kas:ks kat:ka kau:kr kaz:kk khk:mn khm:km kik:ki
kin:rw kir:ky kmr:ku knc:kr kng:kg kom:kv kon:kg kor:ko kpv:kv kua:kj kur:ku lao:lo lat:la lav:lv lim:li lin:ln lit:lt
ltz:lb lub:lu lug:lg lvs:lv mac:mk mah:mh mal:ml mao:mi mar:mr may:ms mkd:mk mlg:mg mlt:mt mol:ro mon:mn mri:mi msa:ms
mya:my nau:na nav:nv nbl:nr nde:nd ndo:ng nep:ne nld:nl nno:nn nob:no nor:no npi:ne nya:ny oci:oc ojg:oj oji:oj ori:or
orm:om ory:or oss:os pan:pa pbt:ps pbu:ps per:fa pes:fa pli:pi plt:mg pnb:pa pol:pl por:pt prp:gu prs:fa pus:ps que:qu
quz:qu roh:rm ron:ro rum:ro run:rn rus:ru sag:sg san:sa scc:sr scr:hr sin:si slk:sk slo:sk slv:sl sme:se smo:sm sna:sn
snd:sd som:so sot:st spa:es sqi:sq src:sc srd:sc srp:sr ssw:ss sun:su swa:sw swc:sw swe:sv swh:sw tah:ty tam:ta tat:tt
tel:te tgk:tg tgl:tl tha:th tib:bo tir:ti tnf:fa ton:to tsn:tn tso:ts tuk:tk tur:tr twi:tw uig:ug ukr:uk urd:ur uzb:uz
uzn:uz ven:ve vie:vi vol:vo wel:cy wln:wa wol:wo xho:xh ydd:yi yid:yi yor:yo zha:za zho:zh zsm:ms zul:zu zyb:za
"""
_OTHER = dict(pair.split(":") for pair in _LONG.split()) | {
    "in": "id", "iw": "he", "ji": "yi", "jv": "jw", "mo": "ro", "nb": "no", "sh": "sr", "zh-yue": "yue",
}  # fmt: skip
"""Codes of ISO 639-2 (both lists), those of 639-3 that ICU counts as the same language, and older ones of 639-1 → the
code used here."""

_SHORT = """
aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en eo
es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja jw ka kg
ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nd ne ng nl nn no
nr nv ny oc oj om or os pa pi pl ps pt py qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st su sv sw ta
te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu
"""
_TWO_LETTERS = frozenset(_SHORT.split())
"""The codes of ISO 639-1, in the form used here, with the older bh, and eSpeak NG's py (Pyash)."""


def code_of(language: str) -> str | None:
    """Return the code of a language that Whisper knows, from a code ("pt", "por", "pt-BR") or an English name
    ("Portuguese"); None for anything else.
    """
    code = _short(language)
    return code if code in NAMES else _CODES.get(" ".join(language.lower().replace("_", " ").split()))


def language_code(value: str | None) -> str | None:
    """Return the code for "pt", "por", "pt-BR", "PT_br" or "Portuguese"; None for an empty value or "auto". Languages
    that only a voice knows pass as their code: those of ISO 639-1, and all of three letters, which are not listed here.
    Raises BadInput (unsupported_language).
    """
    value = (value or "").strip()
    if not value or value.lower() == "auto":
        return None
    if (known := code_of(value)) is not None:
        return known
    code = _short(value)
    if code not in _TWO_LETTERS and not (code.isascii() and code.isalpha() and len(code) == 3):
        raise BadInput(f"{value[:20]!r} is not a language code; send one like en or pt.", code="unsupported_language")
    return code


def plain_code(language: str) -> str:
    """Return a code without its region: "pt" for "pt-BR" and "PT_br"."""
    return language.lower().replace("_", "-").split("-")[0]


def _short(language: str) -> str:
    """Return the first part of a tag, in the form used here."""
    tag = language.strip().lower().replace("_", "-").partition(".")[0]  # a locale can have an encoding: en_US.UTF-8
    parts = tag.split("-")
    return _OTHER.get("-".join(parts[:2])) or _OTHER.get(parts[0], parts[0])
