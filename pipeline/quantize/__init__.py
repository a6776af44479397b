"""Quantize: a component in, its quantized files out: streamed, or made whole by its library."""
