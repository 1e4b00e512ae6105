"""Indexes of images and videos, which are kept on disk and searched by text or by example."""
