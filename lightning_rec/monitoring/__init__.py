"""Watching a served model: how its log differs from what it was trained and exported on.

``bins`` counts values, ``drift`` compares counts, ``observed`` finds what a log of requests has,
``reference`` keeps the same of training, ``rows`` reads tables of clicks, ``judging`` says what
moved.
"""
