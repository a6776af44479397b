"""The oracle: what the libraries say of a component, asked in a process of its own and kept."""
