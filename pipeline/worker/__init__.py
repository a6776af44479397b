"""Workers: processes of their own that run the libraries, how they are started, asked and ended."""
