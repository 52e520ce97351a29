"""Rules of what is recommended, and in which order: filters, boosts, caps, diversity and more."""
