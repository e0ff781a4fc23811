"""Numbers with their nouns and verbs, for messages: "1 document was", "2 documents were"."""

from __future__ import annotations


def counted(number: int, noun: str, verb: str = "") -> str:
    """A number and its noun, and the form of a verb that goes with it.

    Args:
        number: how many.
        noun: in the singular; its plural takes an s, or turns a final y into ies.
        verb: in the singular, "was", "is", "has" or "does"; empty for none.
    """
    words = f"{number:,} {noun if number == 1 else plural(noun)}"
    return f"{words} {agreeing(number, verb)}" if verb else words


def share(part: int, whole: int, noun: str, verb: str = "") -> str:
    """A part of a whole: "1 of 3 documents was", "2 of 3 documents were"."""
    words = f"{part:,} of {counted(whole, noun)}"
    return f"{words} {agreeing(part, verb)}" if verb else words


def agreeing(number: int, verb: str) -> str:
    """The form of a verb that goes with a number."""
    return verb if number == 1 else _PLURALS[verb]


def plural(noun: str) -> str:
    """The plural of a regular noun."""
    return f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"


_PLURALS = {"was": "were", "is": "are", "has": "have", "does": "do"}
