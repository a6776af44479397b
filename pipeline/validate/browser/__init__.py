"""In a browser: a page loads a checkpoint by transformers.js, as the visitors of any site would, and answers.

A process of its own drives the browser of this machine, headless. The page and what it loads have the addresses that
they have anywhere; these lead to files here, so that a verdict needs no network.
"""
