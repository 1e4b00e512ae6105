"""Configs of videos: text-video retrieval and action recognition."""
