"""The card: README, pictures and publish/ folder of a published repository, made from plan and report alone."""
