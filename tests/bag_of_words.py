"""An embedding without a model: words hashed into a bag, so that texts that share words lie close together."""

from __future__ import annotations

import math
import re
import zlib

BUCKETS = 256


def bag_of_words(text: str) -> list[float]:
    """A vector of length one; deterministic, and of zeros for a text without words."""
    counts = [0.0] * BUCKETS
    for word in re.findall(r"\w+", text.lower()):
        counts[zlib.crc32(word.encode()) % BUCKETS] += 1.0
    length = math.hypot(*counts) or 1.0
    return [count / length for count in counts]
