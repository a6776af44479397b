"""Tasks: what a model is for, and with that what a question and an answer are."""
