"""The Hub: the remote as a publisher needs it."""
