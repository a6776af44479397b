"""The Hub: the remote as a publisher needs it, and the embedded one that runs on loopback."""
