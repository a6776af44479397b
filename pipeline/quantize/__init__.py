"""Quantize: a component in, its quantized files out, streamed."""
