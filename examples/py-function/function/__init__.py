"""A function that greets."""

from .func import new

__all__ = ["new"]
