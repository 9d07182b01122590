"""Chance that can be asked twice: every draw is a function of numbers alone, never of what was drawn before
it elsewhere. That is what makes a customer's body, or a fault, the same in every run and in every order."""

import zlib
from collections.abc import Sequence
from typing import TypeVar

Option = TypeVar("Option")

_MASK = (1 << 64) - 1
_START = 0x9E3779B97F4A7C15
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB  # splitmix64's multipliers
_STREAM, _STRIDE = (
    0xDA3E39CB94B95BDB,
    0x9E3779B97F4A7C15,
)  # a linear congruential step; its high bits are good
_TO_UNIT = 2.0**-53


def topic(name: str) -> int:
    """A number for a name, so that two draws about one customer don't lean on each other."""
    return zlib.crc32(name.encode())


def mix(*numbers: int) -> int:
    """64 bits from any integers; each of them, and their order, matters."""
    state = _START
    for number in numbers:
        state = ((state ^ number) * _FIRST) & _MASK
        state ^= state >> 31
    state = (state * _SECOND) & _MASK
    return state ^ (state >> 29)


def unit(*numbers: int) -> float:
    """A share in [0, 1) from any integers."""
    return (mix(*numbers) >> 11) * _TO_UNIT


class Dice:
    """A stream of draws that starts from numbers. random.Random would do, but seeding one costs more than all
    the draws a customer's block needs."""

    __slots__ = ("_state",)

    def __init__(self, *numbers: int) -> None:
        self._state = mix(*numbers)  # 64 bits, moved on by every draw

    def unit(self) -> float:
        """The next share in [0, 1)."""
        self._state = state = (self._state * _STREAM + _STRIDE) & _MASK
        return (state >> 11) * _TO_UNIT

    def chance(self, share: float) -> bool:
        """True for this share of streams."""
        self._state = state = (
            self._state * _STREAM + _STRIDE
        ) & _MASK  # unit(), without the call: it adds up
        return (state >> 11) * _TO_UNIT < share

    def under(self, end: int) -> int:
        """A whole number in 0 … end - 1."""
        return int(self.unit() * end)

    def pick(self, options: Sequence[Option]) -> Option:
        """One of the options, each as likely."""
        return options[int(self.unit() * len(options))]
