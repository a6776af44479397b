"""Speech: clips are heard, and what was said in them is written down."""
