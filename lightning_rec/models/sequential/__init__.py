"""Models that read a sequence of items; one paper, one file."""
