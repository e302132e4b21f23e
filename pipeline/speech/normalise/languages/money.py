"""The signs of currencies, the same in every language; each language's table names the currencies."""

from collections.abc import Mapping

from pipeline.speech.normalise.words import Currency

SIGNS: Mapping[str, tuple[str, ...]] = {
    "dollar": ("$", "US$", "USD"),
    "australian dollar": ("A$", "AU$", "AUD"),
    "canadian dollar": ("C$", "CA$", "CAD"),
    "hong kong dollar": ("HK$", "HKD"),
    "new zealand dollar": ("NZ$", "NZD"),
    "singapore dollar": ("S$", "SG$", "SGD"),
    "mexican peso": ("MX$", "MXN"),
    "real": ("R$", "BRL"),
    "euro": ("€", "EUR"),
    "pound": ("£", "GBP"),
    "yen": ("¥", "JPY"),
    "yuan": ("CN¥", "CNY", "RMB"),
    "rupee": ("₹", "INR", "Rs", "Rs."),
    "won": ("₩", "KRW"),
    "lira": ("₺",),
    "rouble": ("₽", "RUB"),
    "zloty": ("zł", "PLN"),
    "krona": ("kr", "SEK", "NOK", "DKK"),
    "franc": ("CHF",),
    "shekel": ("₪", "ILS"),
    "hryvnia": ("₴", "UAH"),
    "naira": ("₦", "NGN"),
    "dong": ("₫", "VND"),
    "baht": ("฿", "THB"),
    "philippine peso": ("₱", "PHP"),
    "czech koruna": ("Kč", "CZK"),
    "bitcoin": ("₿", "BTC"),
    "cent": ("¢",),
}


def by_sign(named: Mapping[str, Currency]) -> Mapping[str, Currency]:
    """Return sign → currency, for the currencies that a language names."""
    return {sign: currency for name, currency in named.items() for sign in SIGNS[name]}
