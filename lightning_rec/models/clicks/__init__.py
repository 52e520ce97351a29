"""Models of clicks, one paper per file."""
