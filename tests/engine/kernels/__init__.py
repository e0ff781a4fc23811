"""Tests of the kernels between matrix products and attention."""
