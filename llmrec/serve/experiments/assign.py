"""Who gets which variant: by a hash, so nothing is stored, and everybody keeps theirs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

__all__ = ["place", "variant_of"]

# As many bits as a float holds.
_BITS = 53


def place(salt: str, unit: str) -> float:
    """Return where a unit stands in [0, 1): uniform over units, independent between salts, always the same.

    Args:
        salt: of the experiment.
        unit: a user's id or the key of an anonymous visitor.
    """
    # The length keeps salt and unit apart: ("a", "bc") is not ("ab", "c").
    whole = f"{len(salt)}:{salt}{unit}".encode("utf-8", "surrogatepass")
    return (int.from_bytes(hashlib.sha256(whole).digest()[:8], "big") >> (64 - _BITS)) / 2.0**_BITS


def variant_of(weights: Mapping[str, float], salt: str, unit: str) -> str:
    """Return the variant of a unit.

    Args:
        weights: a variant's name to its share; they add up to 1. Their order matters: keep it.
        salt: of the experiment.
        unit: a user's id or the key of an anonymous visitor.
    """
    left = place(salt, unit)
    for name, weight in weights.items():
        left -= weight
        if left < 0.0:
            return name
    return name  # shares that add up to a little less than 1 leave a gap of rounding
