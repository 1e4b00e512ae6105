"""Fetches repositories of data sets and unpacks their archives."""
