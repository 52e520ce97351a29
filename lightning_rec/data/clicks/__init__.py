"""Clicks, row by row: declared fields, splits, vocabularies fitted on train, audit, batches."""
