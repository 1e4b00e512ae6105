"""Figures printed in papers, and which measured ones they are comparable with."""
