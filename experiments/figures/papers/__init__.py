"""Figures printed in papers, which measured ones they are comparable with, and tables in LaTeX."""
