"""Words from outside (names of files, what went wrong with them) in places where Streamlit expects Markdown."""

import re

from explorer.language import say

MARKUP = re.compile(r"[\\`*\[\]<>~$|#]|(?<!\w)_|_(?!\w)|:(?=[^\s/])")  # an underscore inside of a word is none
LINKS = re.compile(r"(?<=www)(?=\.)|(?=@)", re.IGNORECASE)  # addresses that Markdown finds by itself
WORD_JOINER = "\N{WORD JOINER}"  # without width, and no part of an address


def sendable(words: str) -> str:
    """Write half a pair of surrogates, as in names that are not in the machine's encoding, as its number.

    No message to the browser could carry it, nor is there a hash of it.
    """
    plain = words.encode("utf-8", "backslashreplace").decode("utf-8")
    return words if plain == words else plain  # which can still be said in another language


def as_text(words: str) -> str:
    """Say words and escape them so that Markdown shows them as they are, in one paragraph; `https://` stays a link."""
    joined = LINKS.sub(WORD_JOINER, " ".join(sendable(say(words)).split()))
    return MARKUP.sub(lambda found: "\\" + found[0], joined)
