"""Answers beyond a list: whole files of users, similar items, popular ones, profiles."""
