"""Choose where and how a model runs, and load it there."""
