"""The stages of a run, one function each: what goes in and what it needs besides is passed, what comes out is sealed."""
