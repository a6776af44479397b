"""quantpress: a recipe becomes verified, pre-quantized checkpoints on a Hugging Face Hub."""
