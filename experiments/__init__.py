"""What people type, a command a file; a run's way is configs/, run/, record/, figures/."""
