"""Fuzzes file readers with thousands of damaged or malicious files, and kills runs at random."""
