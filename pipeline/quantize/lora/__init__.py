"""LoRAs fused into a source before it is quantized."""
