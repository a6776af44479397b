"""The fleet: every recipe beside what the Hub, this home and this machine have of it."""
