"""The fused packing kernels: one pass over the weights, compiled once, each with its library as the oracle."""
