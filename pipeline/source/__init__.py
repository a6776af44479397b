"""The source: a model's files wherever they lie, their layout, their headers, and how they are fetched."""
