"""Models that are fitted by counting or solving."""
