"""What a customer is told who waits for an answer, where a profile has no words of its own for it. Pure."""

from voicesession.models import ANY_LANGUAGE, AgentProfileSpec

# They are said in the middle of a conversation, so in its language. Where that may be any, in English, as all that a
# profile says by default.
_ENGLISH = "One moment, please."
_BY_LANGUAGE = {
    "ar": "لحظة من فضلك.",
    "cs": "Okamžik, prosím.",
    "da": "Et øjeblik, tak.",
    "de": "Einen Moment, bitte.",
    "el": "Μια στιγμή, παρακαλώ.",  # noqa: RUF001
    "en": _ENGLISH,
    "es": "Un momento, por favor.",
    "fi": "Pieni hetki, kiitos.",
    "fr": "Un instant, s'il vous plaît.",
    "hi": "कृपया एक क्षण रुकिए।",
    "hu": "Egy pillanat, kérem.",
    "it": "Un momento, per favore.",
    "ja": "少々お待ちください。",
    "ko": "잠시만 기다려 주세요.",
    "nb": "Et øyeblikk, takk.",
    "nl": "Een moment, alstublieft.",
    "no": "Et øyeblikk, takk.",
    "pl": "Chwileczkę, proszę.",
    "pt": "Um momento, por favor.",
    "ro": "Un moment, vă rog.",
    "ru": "Одну минуту, пожалуйста.",
    "sv": "Ett ögonblick, tack.",
    "tr": "Bir dakika, lütfen.",
    "uk": "Хвилинку, будь ласка.",
    "zh": "请稍等。",
    ANY_LANGUAGE: _ENGLISH,
}


def choose_moment(profile: AgentProfileSpec) -> str:
    """Returns the profile's own words, else ours in its language; nothing where it wants none, or we have none."""
    own = profile.trouble.moment
    language = profile.language.partition("-")[0].lower()
    return _BY_LANGUAGE.get(language, "") if own is None else own
