"""Chooses where and how a model runs, and loads it there."""
