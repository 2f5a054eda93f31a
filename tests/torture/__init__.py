"""Random kills of many builders, and what must be true after them; scripts/torture starts it."""
