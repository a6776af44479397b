"""Pages for people with a browser: what the Hub holds, rendered on the server, without a script.

Whatever repositories contain is text here: templates escape it, cards lose their HTML, and the headers of every page
forbid what might still slip through.
"""
