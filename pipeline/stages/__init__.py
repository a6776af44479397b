"""The stages of a run, one function each: everything it needs is passed, what comes out is sealed."""
