"""Everything in a decoder layer between matrix products and attention: fused Triton kernels, and plain torch."""
