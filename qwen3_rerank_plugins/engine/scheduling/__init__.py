"""Plans batches under a token budget and runs them on one thread per replica."""
