"""How the languages join numbers with words, and which abbreviations and sounds they write: tables, no code."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Wording:
    """How a language joins numbers with what is around them.

    `one` are the words for 1 before a masculine and a feminine noun; `ordinal` matches what is written after a number
    to make it an ordinal; `hours` stands between hours and minutes.
    """

    point: str
    minus: str
    to: str
    dot: str
    slash: str
    at: str
    hyphen: str
    underscore: str
    ampersand: str
    plus: str
    equals: str
    number: str
    cents: str
    of: str
    hours: str
    one: tuple[str, str]
    ordinal: str
    scales: str
    reads_decimals_whole: bool = True


WORDINGS = {
    "en": Wording(
        *("point", "minus", "to", "dot", "slash", "at", "dash", "underscore", "and", "plus", "equals", "number"),
        *(" and", "", " ", ("one", "one"), r"(?:st|nd|rd|th)\b", "hundred|thousand|million|billion|trillion"),
        reads_decimals_whole=False,
    ),
    "fr": Wording(
        *("virgule", "moins", "à", "point", "slash", "arobase", "tiret", "tiret bas", "et", "plus", "égale", "numéro"),
        *(" et", "de ", " heures ", ("un", "une"), r"(?:ers?|res?|ères?|èmes?|es?|d|nde?)\b", "millions?|milliards?"),
    ),
    "de": Wording(
        *("Komma", "minus", "bis", "Punkt", "Schrägstrich", "at", "Bindestrich", "Unterstrich", "und", "plus"),
        *("gleich", "Nummer", " und", "", " Uhr ", ("ein", "eine"), r"\.(?= ?@)", "Millionen|Milliarden|Tausend"),
        reads_decimals_whole=False,
    ),
    "es": Wording(
        *("coma", "menos", "a", "punto", "barra", "arroba", "guion", "guion bajo", "y", "más", "igual a", "número"),
        *(" con", "de ", " y ", ("un", "una"), r"\.?(?:er|[ºª°])(?!\w)", "mil|millones|millón"),
    ),
    "it": Wording(
        *("virgola", "meno", "a", "punto", "barra", "chiocciola", "trattino", "trattino basso", "e", "più", "uguale"),
        *("numero", " e", "di ", " e ", ("un", "una"), r"[ºª°](?!\w)", "mila|milioni|miliardi|milione"),
    ),
    "pt": Wording(
        *("vírgula", "menos", "a", "ponto", "barra", "arroba", "hífen", "sublinhado", "e", "mais", "igual a"),
        *("número", " e", "de ", " e ", ("um", "uma"), r"\.?[ºª°](?!\w)", "mil|milhões|bilhões|milhão"),
    ),
}

CURRENCIES = {"€": "EUR", "$": "USD", "£": "GBP", "EUR": "EUR", "USD": "USD", "GBP": "GBP", "US$": "USD", "R$": "BRL"}
MONEY = "US\\$|R\\$|[€$£]|EUR|USD|GBP"
UNITS = {
    "%": "concentr-percent",
    "‰": "concentr-permille",
    "km/h": "speed-kilometer-per-hour",
    "kmh": "speed-kilometer-per-hour",
    "mph": "speed-mile-per-hour",
    "m/s": "speed-meter-per-second",
    "km²": "area-square-kilometer",
    "m²": "area-square-meter",
    "m³": "volume-cubic-meter",
    "km": "length-kilometer",
    "cm": "length-centimeter",
    "mm": "length-millimeter",
    "m": "length-meter",
    "mi": "length-mile",
    "ft": "length-foot",
    "kg": "mass-kilogram",
    "mg": "mass-milligram",
    "g": "mass-gram",
    "lbs": "mass-pound",
    "lb": "mass-pound",
    "oz": "mass-ounce",
    "ml": "volume-milliliter",
    "cl": "volume-centiliter",
    "l": "volume-liter",
    "L": "volume-liter",
    "°C": "temperature-celsius",
    "°F": "temperature-fahrenheit",
    "°": "angle-degree",
    "GHz": "frequency-gigahertz",
    "MHz": "frequency-megahertz",
    "kHz": "frequency-kilohertz",
    "Hz": "frequency-hertz",
    "TB": "digital-terabyte",
    "GB": "digital-gigabyte",
    "MB": "digital-megabyte",
    "kB": "digital-kilobyte",
    "KB": "digital-kilobyte",
    "kW": "power-kilowatt",
    "W": "power-watt",
    "V": "electric-volt",
    "ms": "duration-millisecond",
    "sec": "duration-second",
    "s": "duration-second",
    "min": "duration-minute",
    "h": "duration-hour",
}
FEMININE_UNITS = {
    "fr": ("hour", "minute", "second", "millisecond", "pound", "ounce"),
    "de": ("hour", "minute", "second", "millisecond", "mile", "ounce"),
    "es": ("hour", "mile", "pound", "ounce"),
    "it": ("hour", "pound", "ounce"),
    "pt": ("hour", "mile", "pound", "ounce"),
}
ABBREVIATIONS: dict[str, dict[str, str]] = {
    "en": {
        **{"Mr.": "Mister", "Mrs.": "Missus", "Ms.": "Miz", "Dr.": "Doctor", "Prof.": "Professor", "Capt.": "Captain"},
        **{"Gen.": "General", "Lt.": "Lieutenant", "Col.": "Colonel", "Sgt.": "Sergeant", "Rev.": "Reverend"},
        **{"Gov.": "Governor", "Sen.": "Senator", "Jr.": "Junior", "Sr.": "Senior", "Mt.": "Mount", "Ave.": "Avenue"},
        **{"Rd.": "Road", "Blvd.": "Boulevard", "Inc.": "Incorporated", "Ltd.": "Limited", "Corp.": "Corporation"},
        **{"vs.": "versus", "etc.": "et cetera", "e.g.": "for example", "i.e.": "that is", "approx.": "approximately"},
        **{"dept.": "department", "w/": "with", "w/o": "without"},
    },
    "fr": {
        **{"M.": "Monsieur", "MM.": "Messieurs", "Mme": "Madame", "Mmes": "Mesdames", "Mlle": "Mademoiselle"},
        **{
            "Dr": "Docteur",
            "Pr": "Professeur",
            "St-": "Saint-",
            "Ste-": "Sainte-",
            "etc.": "et cetera",
        },
        **{"p. ex.": "par exemple", "c.-à-d.": "c'est-à-dire", "av.": "avenue", "bd": "boulevard", "env.": "environ"},
        **{"tél.": "téléphone", "av. J.-C.": "avant Jésus-Christ", "qqch.": "quelque chose", "qqn": "quelqu'un"},
    },
    "de": {
        **{
            "Dr.": "Doktor",
            "Prof.": "Professor",
            "Hr.": "Herr",
            "Fr.": "Frau",
            "St.": "Sankt",
            "z. B.": "zum Beispiel",
        },
        **{
            "z.B.": "zum Beispiel",
            "d. h.": "das heißt",
            "d.h.": "das heißt",
            "u. a.": "unter anderem",
            "usw.": "und so weiter",
        },
        **{
            "u.a.": "unter anderem",
            "bzw.": "beziehungsweise",
            "ca.": "circa",
            "evtl.": "eventuell",
            "inkl.": "inklusive",
        },
        **{"ggf.": "gegebenenfalls", "vgl.": "vergleiche", "etc.": "et cetera", "Tel.": "Telefon", "Mio.": "Millionen"},
        **{"Mrd.": "Milliarden", "Std.": "Stunden", "Min.": "Minuten", "Jh.": "Jahrhundert", "v. Chr.": "vor Christus"},
        **{"n. Chr.": "nach Christus", "bspw.": "beispielsweise", "u. U.": "unter Umständen"},
    },
    "es": {
        **{"Sr.": "Señor", "Sra.": "Señora", "Srta.": "Señorita", "Dr.": "Doctor", "Dra.": "Doctora", "Ud.": "usted"},
        **{"Uds.": "ustedes", "Vd.": "usted", "Dña.": "Doña", "etc.": "etcétera", "p. ej.": "por ejemplo"},
        **{"EE. UU.": "Estados Unidos", "EE.UU.": "Estados Unidos", "pág.": "página", "aprox.": "aproximadamente"},
        **{"tel.": "teléfono", "Avda.": "Avenida", "Av.": "Avenida"},
    },
    "it": {
        **{"Sig.": "Signor", "Sig.ra": "Signora", "Sig.na": "Signorina", "Dott.": "Dottor", "Dott.ssa": "Dottoressa"},
        **{"Dr.": "Dottor", "Prof.": "Professor", "Prof.ssa": "Professoressa", "Ing.": "Ingegner", "Avv.": "Avvocato"},
        **{"ecc.": "eccetera", "pag.": "pagina", "tel.": "telefono", "p. es.": "per esempio", "ca.": "circa"},
    },
    "pt": {
        **{"Sr.": "Senhor", "Sra.": "Senhora", "Srta.": "Senhorita", "Dr.": "Doutor", "Dra.": "Doutora"},
        **{
            "Prof.": "Professor",
            "Profa.": "Professora",
            "etc.": "et cetera",
            "p. ex.": "por exemplo",
            "pág.": "página",
        },
        **{"tel.": "telefone", "Av.": "Avenida", "aprox.": "aproximadamente"},
    },
}
"""Abbreviations that are read as words, by language; each is matched as a whole word with its case."""

NUMBER_SIGNS = {
    "en": ("No.", "no.", "Nos."),
    "fr": ("n°", "N°", "nº", "n\u1d52"),
    "de": ("Nr.",),
    "es": ("n.º", "N.º", "nº", "Nº", "n.°", "núm."),
    "it": ("n.", "N.", "n°", "nº"),
    "pt": ("n.º", "nº", "Nº", "n.°", "n°"),
}
"""What stands for "number" before digits."""

SOUNDS = (
    r"ahem|applause|background|beeps?|beeping|bells?|breath(?:es|ing)?|burps?|chuckl\w*|claps?|clapping|clears? throat|"
    r"click\w*|cough\w*|crosstalk|cries|crying|exhal\w*|foreign|gasp\w*|giggl\w*|groan\w*|hum(?:s|ming)|inaudible|"
    r"indistinct|inhal\w*|lip ?smack|laugh\w*|music|noises?|overlap\w*|pauses?|ring\w*|scream\w*|sighs?|sighing|"
    r"silence|sings?|singing|smack\w*|sniff\w*|snor\w*|sob\w*|static|throat clear\w*|tones?|unclear|unintelligible|unk|"
    r"whisper\w*|whistl\w*|yawn\w*|ahooga|"
    r"rires?|bruits?|musique|toux|soupirs?|applaudissements|silences?|inaudibles?|respirations?|"
    r"lachen|lacht|gelächter|husten|hustet|geräusche?|musik|applaus|seufzt|pause|unverständlich|stille|rauschen|"
    r"risas?|ruidos?|música|tos|suspiros?|aplausos|silencio|pausa|ininteligible|"
    r"risate|ride|rumor[ei]|musica|tosse|sospir[oi]|applausi|silenzio|incomprensibile|"
    r"risos?|ruído|silêncio|palmas|inaudível|смех|шум|музыка|кашель|аплодисменты|вздох"
)
"""What transcripts write in brackets for sounds that are no words, in several languages."""
