"""Scores that were computed before, in memory or in a file, found by everything that decides them."""
