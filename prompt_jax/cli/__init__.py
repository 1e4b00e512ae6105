"""What every command shares: interruption, error messages, progress bars."""
