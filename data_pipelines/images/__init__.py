"""Reads the images of data sets and checks their files."""
