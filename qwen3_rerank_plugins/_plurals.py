"""Numbers with their nouns and verbs, for messages: "1 document was", "2 documents were"."""

from __future__ import annotations


def counted(number: int, noun: str, verb: str = "") -> str:
    """Return a number with its noun and verb.

    Args:
        number: how many.
        noun: in the singular. Its plural ends in s, or in ies instead of y.
        verb: in the singular: "was", "is", "has" or "does"; empty for none.
    """
    words = f"{number:,} {noun if number == 1 else plural(noun)}"
    return f"{words} {agreeing(number, verb)}" if verb else words


def share(part: int, whole: int, noun: str, verb: str = "") -> str:
    """Return a part of a whole: "1 of 3 documents was", "2 of 3 documents were"."""
    words = f"{part:,} of {counted(whole, noun)}"
    return f"{words} {agreeing(part, verb)}" if verb else words


def agreeing(number: int, verb: str) -> str:
    """Return the form of a verb that agrees with a number."""
    return verb if number == 1 else _PLURALS[verb]


def plural(noun: str) -> str:
    """Return the plural of a regular noun."""
    return f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"


_PLURALS = {"was": "were", "is": "are", "has": "have", "does": "do"}
