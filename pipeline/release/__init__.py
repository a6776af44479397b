"""The release: one commit on the Hub, staged, read back, used, promoted, tagged."""
