"""The plan: a recipe with everything resolved, from tensor headers alone, before anything is made."""
