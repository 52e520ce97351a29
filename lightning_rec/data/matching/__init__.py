"""Pairs of a query and an item, both known by their texts: read, split by query, audited."""
